/** Rows that an operator deletes: no user is locked out, and all that is left comes, in order. */
import { assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Msg } from "./harness/contract.ts";
import { login, register } from "./harness/framed_client.ts";
import { sharedMariadb } from "./harness/mariadb.ts";
import { type Server, serverTest, withServer } from "./harness/server.ts";

const mariadb = sharedMariadb();

const COUNT = 6;

/** Sends messages to a user who is away, deletes some, and has the user come back. */
async function comesBack(
  server: Server,
  remove: (statements: readonly string[]) => Promise<void>,
): Promise<void> {
  const from = await register(server);
  const to = await register(server);
  await using sender = await login(server, { id: from });
  for (let i = 1; i <= COUNT; i++) await sender.chat(to, `${i}`);
  await sender.close();
  await remove([
    `DELETE FROM Message WHERE sender = ${from} AND seq IN (1, 4)`,
    `DELETE FROM RecentMessage WHERE sender = ${from} AND seq IN (1, 4)`,
  ]);
  await using again = await login(server, { id: from });
  await using back = await login(server, { id: to });
  const left = await back.take(4, Msg.ONE_CHAT);
  assertEquals(left.map(({ seq }) => seq), [2, 3, 5, 6]);
  await back.delivered({ id: from }, 6);
  await again.chat(to, "next");
  assertEquals((await back.next(Msg.ONE_CHAT)).seq, 7);
}

serverTest("deleted messages lock no user out of the embedded store", {}, async (server) => {
  await comesBack(server, async (statements) => {
    server.kill("SIGTERM");
    await server.wait();
    const db = new DatabaseSync(server.db);
    for (const statement of statements) db.exec(statement);
    db.close();
    await server.start();
  });
});

mariadb.test("deleted messages lock no user out of MySQL, while it runs", async (db) => {
  await withServer(
    { args: ["--mysql", db.url] },
    (server) => comesBack(server, async ([statement]) => void await db.sql(statement!)),
  );
});
