/** Accounts, and their lists of friends. */
import { type Account, PLAINTEXT_PREFIX, type Rejection, type StoreLimits } from "../store.ts";
import { lockUser } from "./groups.ts";
import type { Pool } from "./pool.ts";
import type { MysqlConnection, Row } from "./mysql_connection.ts";
import { sql } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

const SELECT_ACCOUNT = sql`SELECT id, name, password, state FROM User`;

/** Finds an account by id or name. */
export async function findUser(
  pool: Pool,
  by: { readonly id: number } | { readonly name: string },
): Promise<Account | undefined> {
  const condition = "id" in by ? sql`id = ${by.id}` : sql`name = ${by.name}`;
  const [found] = await pool.read(sql`${SELECT_ACCOUNT} WHERE ${condition}`);
  return found!.rows.map(accountOf)[0];
}

/**
 * Replaces a password that still is `expectedHash`. The comparison is binary: a plaintext password may end in
 * a space.
 */
export async function setPassword(
  connection: MysqlConnection,
  user: number,
  passwordHash: string,
  expectedHash: string,
): Promise<void> {
  await connection.query(
    BEGIN,
    sql`UPDATE User SET password = ${passwordHash}
        WHERE id = ${user} AND CAST(password AS BINARY) = CAST(${expectedHash} AS BINARY)`,
  );
  await connection.query(COMMIT); // a request of its own: the epoch is checked before it
}

/** Returns accounts with plaintext passwords and ids above `after`, by id. */
export async function plaintextAccounts(pool: Pool, after: number, limit: number): Promise<Account[]> {
  const [found] = await pool.read(
    sql`${SELECT_ACCOUNT} WHERE id > ${after} AND password LIKE ${`${PLAINTEXT_PREFIX}%`}
        ORDER BY id LIMIT ${limit}`,
  );
  return found!.rows.map(accountOf);
}

/** Adds a friend to the user's list, which is bounded by `friendsPerUser`. */
export async function addFriend(
  connection: MysqlConnection,
  { friendsPerUser }: StoreLimits,
  user: number,
  friend: number,
): Promise<{ name: string } | Rejection> {
  const [, , found, listed, friends] = await connection.query(
    BEGIN,
    lockUser(user),
    sql`SELECT name FROM User WHERE id = ${friend}`,
    sql`SELECT 1 FROM Friend WHERE userid = ${user} AND friendid = ${friend}`,
    sql`SELECT count(*) AS count FROM Friend WHERE userid = ${user}`,
  );
  if (found!.rows.length === 0) return { refused: "not_found" };
  const name = found!.rows[0]!.name as string;
  if (listed!.rows.length > 0) return { name };
  if (friends!.rows[0]!.count as number >= friendsPerUser) return { refused: "full" };
  await connection.query(sql`INSERT INTO Friend (userid, friendid) VALUES (${user}, ${friend})`, COMMIT);
  return { name };
}

function accountOf({ id, name, password, state }: Row): Account {
  return { id: id as number, name: name as string, password: password as string, online: state === "online" };
}
