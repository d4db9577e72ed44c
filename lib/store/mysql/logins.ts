/**
 * Logins and saved sessions. Thousands of clients may reconnect at once, so that logins are committed in
 * batches.
 */
import type { Login, SavedSession } from "../store.ts";
import { GroupCommitQueue, type Pending } from "./group_commit_queue.ts";
import type { Pool } from "./pool.ts";
import type { MysqlConnection } from "./mysql_connection.ts";
import type { BatchedRead } from "./read_batches.ts";
import { inList, type Sql, sql, valuesList } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

/**
 * Users in one batch: enough to make the cost of a commit per login negligible, and done in some ten
 * milliseconds.
 */
const MAX_USERS_PER_BATCH = 1_000;

/** The approximate size of a waiting call, per user. */
const BYTES_PER_USER = 256;

/** A change of users' logins. */
export type LoginChange =
  | { readonly kind: "claim"; readonly user: number; readonly tokenHash: Uint8Array | undefined }
  | { readonly kind: "release" | "reclaim"; readonly logins: readonly Login[] }
  | { readonly kind: "save"; readonly login: Login; readonly tokenHash: Uint8Array; readonly expires: number }
  | { readonly kind: "delete"; readonly login: Login };

/**
 * Returns the queue of a node's logins and logouts. A `claim` resolves to the login epoch, a `save` to 1 if
 * it was done.
 */
export function loginQueue(pool: Pool): GroupCommitQueue<LoginChange, number> {
  return new GroupCommitQueue<LoginChange, number>({
    sizeOf: (change) => BYTES_PER_USER * usersOf(change).length,
    startBatch() {
      const users = new Set<number>();
      return (change) => {
        const more = usersOf(change);
        // Each user once: the changes of a batch then need no order.
        const fits = users.size + more.length <= MAX_USERS_PER_BATCH && !more.some((user) => users.has(user));
        for (const user of more) users.add(user); // also without a fit, as the first call goes in anyway
        return fits;
      };
    },
    run: (batch) => pool.change((connection) => commitBatch(connection, batch)),
  });
}

function usersOf(change: LoginChange): readonly number[] {
  switch (change.kind) {
    case "claim":
      return [change.user];
    case "release":
    case "reclaim":
      return change.logins.map(({ user }) => user);
    default:
      return [change.login.user];
  }
}

/**
 * Commits a batch in one transaction of two round trips: locks the users, compares the login epochs, and
 * writes.
 */
async function commitBatch(
  connection: MysqlConnection,
  batch: readonly Pending<LoginChange, number>[],
): Promise<void> {
  const changes = batch.map(({ call }) => call);
  const users = changes.flatMap(usersOf);
  const claimsWithToken = changes.filter((change) => change.kind === "claim").filter(({ tokenHash }) =>
    tokenHash
  );
  const [, locked, tokens] = await connection.query(
    BEGIN,
    sql`SELECT id, logins FROM User WHERE ${inList("id", users)} ORDER BY id FOR UPDATE`,
    sql`SELECT userid, token_hash FROM Session WHERE ${
      inList("userid", claimsWithToken.map(({ user }) => user))
    }`,
  );
  const tokenOf = new Map(tokens!.rows.map((row) => [row.userid, (row.token_hash as Uint8Array).toHex()]));
  const latestEpochs = new Map(locked!.rows.map(({ id, logins }) => [id as number, logins as number]));
  const isLatest = ({ user, loginEpoch }: Login) => latestEpochs.get(user) === loginEpoch;
  const [claimed, released, reclaimed, deleted]: [number[], number[], number[], number[]] = [[], [], [], []];
  const saved: (readonly [number, Uint8Array, number])[] = [];
  const results = changes.map((change) => {
    switch (change.kind) {
      case "claim": {
        const before = latestEpochs.get(change.user);
        const hash = change.tokenHash?.toHex();
        if (before === undefined || (hash !== undefined && hash !== tokenOf.get(change.user))) return 0;
        claimed.push(change.user);
        return before + 1;
      }
      case "release":
        return released.push(...change.logins.filter(isLatest).map(({ user }) => user));
      case "reclaim":
        return reclaimed.push(...change.logins.filter(isLatest).map(({ user }) => user));
      case "save":
        return isLatest(change.login) ? saved.push([change.login.user, change.tokenHash, change.expires]) : 0;
      case "delete":
        return isLatest(change.login) ? deleted.push(change.login.user) : 0;
    }
  });
  const unlessEmpty = (list: readonly unknown[], statement: () => Sql) =>
    list.length > 0 ? [statement()] : [];
  await connection.query(
    ...unlessEmpty(
      claimed,
      () => sql`UPDATE User SET logins = logins + 1, state = 'online' WHERE ${inList("id", claimed)}`,
    ),
    ...unlessEmpty(released, () => sql`UPDATE User SET state = 'offline' WHERE ${inList("id", released)}`),
    ...unlessEmpty(reclaimed, () => sql`UPDATE User SET state = 'online' WHERE ${inList("id", reclaimed)}`),
    ...unlessEmpty(
      saved,
      () =>
        sql`INSERT INTO Session (userid, token_hash, expires) VALUES ${valuesList(saved)}
          ON DUPLICATE KEY UPDATE token_hash = VALUES(token_hash), expires = VALUES(expires)`,
    ),
    ...unlessEmpty(deleted, () => sql`DELETE FROM Session WHERE ${inList("userid", deleted)}`),
    COMMIT,
  );
  for (const [i, { resolve }] of batch.entries()) resolve(results[i]!);
}

/** Returns the latest login epoch of each of these users. */
export async function latestLoginEpochs(pool: Pool, users: readonly number[]): Promise<Map<number, number>> {
  const [found] = await pool.read(sql`SELECT id, logins FROM User WHERE ${inList("id", users)}`);
  return new Map(found!.rows.map(({ id, logins }) => [id as number, logins as number]));
}

/** Returns the logins of accounts that are online, with ids above `after`, by id. */
export async function onlineLogins(pool: Pool, after: number, limit: number): Promise<Login[]> {
  const [found] = await pool.read(
    sql`SELECT id AS user, logins AS loginEpoch FROM User
        WHERE id > ${after} AND state = 'online' ORDER BY id LIMIT ${limit}`,
  );
  return found!.rows as unknown as Login[];
}

/** Finds the saved sessions of accounts. */
export const SESSION_READ: BatchedRead<number, SavedSession | undefined> = {
  statements: (users) => [
    sql`SELECT userid, name, token_hash, expires FROM Session JOIN User ON id = userid
        WHERE ${inList("userid", users)}`,
  ],
  results(_, users, [found]) {
    const sessions = new Map(found!.rows.map((row) => [row.userid, row]));
    return Promise.resolve(users.map((user) => {
      const row = sessions.get(user);
      return row && {
        user,
        name: row.name as string,
        tokenHash: new Uint8Array(row.token_hash as Uint8Array),
        expires: row.expires as number,
      };
    }));
  },
};
