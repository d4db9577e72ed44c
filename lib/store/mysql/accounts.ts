/** Accounts, and the friends on their lists. */
import { type Account, PLAIN, type Refused, type StoreLimits } from "../store.ts";
import type { DatabaseError } from "./errors.ts";
import { lockUser } from "./groups.ts";
import { skipUsedIds, USER_ID_IS_USED } from "./identity.ts";
import type { Pool } from "./pool.ts";
import { BEGIN, COMMIT, type Row, type Session } from "./mysql_connection.ts";
import { sql } from "./sql.ts";

const ACCOUNT = sql`SELECT id, name, password, state FROM User`;

/** Makes an account. */
export async function createUser(
  session: Session,
  name: string,
  passwordHash: string,
): Promise<{ id: number } | Refused> {
  const [named] = await session.query(sql`SELECT 1 FROM User WHERE name = ${name}`); // as a failed INSERT uses up an id
  if (named!.rows.length > 0) return { refused: "taken" };
  try {
    const [, made, referred] = await session.query(
      BEGIN,
      sql`INSERT INTO User (name, password) VALUES (${name}, ${passwordHash})`,
      USER_ID_IS_USED,
    );
    if (referred!.rows[0]!.used) await skipUsedIds(session);
    await session.query(COMMIT);
    return { id: made!.insertId };
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
  const [found] = await pool.read(sql`${ACCOUNT} WHERE ${condition}`);
  return found!.rows.map(accountOf)[0];
}

/** Changes a password that still is `was`, byte by byte: a password that isn't hashed may end in a blank. */
export async function setPassword(
  session: Session,
  user: number,
  passwordHash: string,
  was: string,
): Promise<void> {
  await session.query(
    sql`UPDATE User SET password = ${passwordHash}
        WHERE id = ${user} AND CAST(password AS BINARY) = CAST(${was} AS BINARY)`,
  );
}

/** Accounts whose passwords are not hashed. */
export async function unhashed(pool: Pool, after: number, limit: number): Promise<Account[]> {
  const [found] = await pool.read(
    sql`${ACCOUNT} WHERE id > ${after} AND password LIKE ${`${PLAIN}%`} ORDER BY id LIMIT ${limit}`,
  );
  return found!.rows.map(accountOf);
}

/** Puts a friend on a list. */
export async function addFriend(
  session: Session,
  { friendsPerUser }: StoreLimits,
  user: number,
  friend: number,
): Promise<{ name: string } | Refused> {
  const [, , found, listed, friends] = await session.query(
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
  await session.query(sql`INSERT INTO Friend (userid, friendid) VALUES (${user}, ${friend})`, COMMIT);
  return { name };
}

function accountOf({ id, name, password, state }: Row): Account {
  return { id: id as number, name: name as string, password: password as string, online: state === "online" };
}
