/** Accounts, and the friends on their lists. */
import { type Account, PLAINTEXT_PREFIX, type Rejection, type StoreLimits } from "../store.ts";
import type { DatabaseError } from "./errors.ts";
import { lockUser } from "./groups.ts";
import { IS_USER_ID_USED, skipUsedIds } from "./identity.ts";
import type { Pool } from "./pool.ts";
import { type MysqlConnection, type Row } from "./mysql_connection.ts";
import { sql } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

const SELECT_ACCOUNT = sql`SELECT id, name, password, state FROM User`;

/** Makes an account. */
export async function createUser(
  connection: MysqlConnection,
  name: string,
  passwordHash: string,
): Promise<{ id: number } | Rejection> {
  const [existing] = await connection.query(sql`SELECT 1 FROM User WHERE name = ${name}`); // as a failed INSERT uses up an id
  if (existing!.rows.length > 0) return { refused: "taken" };
  try {
    const [, inserted, referred] = await connection.query(
      BEGIN,
      sql`INSERT INTO User (name, password) VALUES (${name}, ${passwordHash})`,
      IS_USER_ID_USED,
    );
    if (referred!.rows[0]!.used) await skipUsedIds(connection);
    await connection.query(COMMIT);
    return { id: inserted!.insertId };
  } catch (error) {
    if ((error as DatabaseError).kind === "duplicate") return { refused: "taken" }; // by another node, just now
    throw error;
  }
}

/** Finds an account. */
export async function findUser(
  pool: Pool,
  by: { readonly id: number } | { readonly name: string },
): Promise<Account | undefined> {
  const condition = "id" in by ? sql`id = ${by.id}` : sql`name = ${by.name}`;
  const [found] = await pool.read(sql`${SELECT_ACCOUNT} WHERE ${condition}`);
  return found!.rows.map(accountOf)[0];
}

/** Changes a password that still is `was`, byte by byte: a password that isn't hashed may end in a blank. */
export async function setPassword(
  connection: MysqlConnection,
  user: number,
  passwordHash: string,
  expectedHash: string,
): Promise<void> {
  await connection.query(
    sql`UPDATE User SET password = ${passwordHash}
        WHERE id = ${user} AND CAST(password AS BINARY) = CAST(${expectedHash} AS BINARY)`,
  );
}

/** Accounts whose passwords are not hashed. */
export async function plaintextAccounts(pool: Pool, after: number, limit: number): Promise<Account[]> {
  const [found] = await pool.read(
    sql`${SELECT_ACCOUNT} WHERE id > ${after} AND password LIKE ${`${PLAINTEXT_PREFIX}%`} ORDER BY id LIMIT ${limit}`,
  );
  return found!.rows.map(accountOf);
}

/** Puts a friend on a list. */
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
