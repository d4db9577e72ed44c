/** The cost of a login on MariaDB: a statement more in each login shows here. */
import { assertLessOrEqual } from "@std/assert";
import type { Store } from "../../lib/store/store.ts";
import { FramedClient, login, PASSWORD, register } from "../harness/framed_client.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { openMysql } from "../store/mysql_fixture.ts";

const mariadb = sharedMariadb();

const LOGINS = 20;

/**
 * Statements of a login and the end of its connection: a transaction of 10, and reads of the token, friends,
 * groups, followers (twice) and unread conversations.
 */
const BY_TOKEN = 10 + 6;

/** In place of the token, the account is read. The new token takes another transaction. */
const BY_PASSWORD = BY_TOKEN + 10;

/** Statements of the measurement, and checks of the server's settings, on each of a few connections. */
const OTHERS = 12;

/** Checks of the server's settings per second, on each of a few connections. */
const CHECKS_PER_SECOND = 4;

async function statements(db: TestDatabase): Promise<number> {
  const [row] = await db.sql("SHOW GLOBAL STATUS LIKE 'Questions'");
  return Number(row!.Value);
}

mariadb.test("login cost: takes a bounded number of statements, by token and by password", async (db) => {
  const real = await openMysql(db.url);
  try {
    const identity = await real.identity();
    // Neither the polls of the epoch nor the logouts, which are written in batches, depend on the logins alone.
    const store = wrapped<Store>(real, (name, go) => {
      if (name === "identity") return Promise.resolve(identity);
      return name === "releaseAccounts" ? Promise.resolve() : go();
    });
    await withNodes(1, async (node) => {
      const id = await register(node);
      await using first = await login(node, { id });
      const { token } = first;
      await first.close();
      const ways = [
        [{ token }, BY_TOKEN],
        [{ id, password: PASSWORD, force: true }, BY_PASSWORD],
      ] as const;
      for (const [proof, most] of ways) {
        const [before, startedAt] = [await statements(db), performance.now()];
        for (let count = 0; count < LOGINS; count++) {
          await using client = await FramedClient.connect(node);
          await client.succeed({ msgid: Msg.LOGIN, ...proof });
        }
        const checks = CHECKS_PER_SECOND * (performance.now() - startedAt) / 1_000;
        assertLessOrEqual(await statements(db) - before, LOGINS * most + OTHERS + checks);
      }
    }, { store: () => store });
  } finally {
    await real.close();
  }
});
