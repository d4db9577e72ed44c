/** New accounts. Many may register at once, so that registrations are committed in batches. */
import type { Rejection } from "../store.ts";
import type { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { GroupCommitQueue, type Pending } from "./group_commit_queue.ts";
import { skipUsedIds, usedUserIds } from "./identity.ts";
import type { MysqlConnection } from "./mysql_connection.ts";
import type { Pool } from "./pool.ts";
import { inList, sql, valuesList } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

/** Accounts in one batch: enough to make the cost of a commit negligible. */
const MAX_ACCOUNTS_PER_BATCH = 100;

/** The approximate size of a waiting registration. */
const BYTES_PER_ACCOUNT = 512;

/** An account to create. */
export interface NewAccount {
  readonly name: string;
  readonly passwordHash: string;
}

type Result = { readonly id: number } | Rejection;

/** Returns the queue of a node's registrations. Rejects a name that another account has. */
export function registrationQueue(pool: Pool, fence: Fence): GroupCommitQueue<NewAccount, Result> {
  let lastId = 0; // the highest id that this node has allocated
  fence.onAdopt(() => lastId = 0);

  async function run(batch: readonly Pending<NewAccount, Result>[]): Promise<void> {
    let ids: Map<string, number>;
    try {
      ids = await pool.change((connection) => createAccounts(connection, batch.map(({ call }) => call)));
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind !== "duplicate" && kind !== "invalid") throw error;
      const [only] = batch as [(typeof batch)[number]];
      // One account is at fault, and fails alone. A failure of the database ends the whole batch.
      if (batch.length > 1) { for (const each of batch) await run([each]); }
      else if (kind === "invalid") only.reject(error as Error);
      else only.resolve({ refused: "name_in_use" }); // another node has just created it
      return;
    }
    if (Math.min(...ids.values()) <= lastId) throw fence.reportDataLoss(); // the earlier account is lost
    lastId = Math.max(lastId, ...ids.values());
    for (const { call, resolve } of batch) {
      const id = ids.get(comparable(call.name));
      resolve(id === undefined ? { refused: "name_in_use" } : { id });
    }
  }

  return new GroupCommitQueue<NewAccount, Result>({
    sizeOf: () => BYTES_PER_ACCOUNT,
    startBatch() {
      const names = new Set<string>();
      return ({ name }) => {
        // Each name once: the first account of a name is committed before the next is looked up.
        const fits = names.size < MAX_ACCOUNTS_PER_BATCH && !names.has(comparable(name));
        names.add(comparable(name));
        return fits;
      };
    },
    run,
  });
}

/** Creates the accounts whose names are not in use. Returns the ids by names. */
async function createAccounts(
  connection: MysqlConnection,
  accounts: readonly NewAccount[],
): Promise<Map<string, number>> {
  // A failed INSERT would use up an id.
  const [, existing] = await connection.query(
    BEGIN,
    sql`SELECT name FROM User WHERE ${inList("name", accounts.map(({ name }) => name))}`,
  );
  const taken = new Set(existing!.rows.map(({ name }) => comparable(name as string)));
  const created = accounts.filter(({ name }) => !taken.has(comparable(name)));
  if (created.length === 0) return new Map();
  const [, inserted] = await connection.query(
    sql`INSERT INTO User (name, password) VALUES ${
      valuesList(created.map(({ name, passwordHash }) => [name, passwordHash]))
    }`,
    usedUserIds(inList("name", created.map(({ name }) => name))),
  );
  if (inserted!.rows.some(({ used }) => used)) await skipUsedIds(connection);
  await connection.query(COMMIT);
  return new Map(inserted!.rows.map(({ id, name }) => [comparable(name as string), id as number]));
}

/** Returns the form in which the database compares a name: it may ignore spaces at the end. */
function comparable(name: string): string {
  return name.replace(/ +$/, "");
}
