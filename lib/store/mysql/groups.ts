/** Creating and joining groups. */
import type { Rejection, StoreLimits } from "../store.ts";
import type { DatabaseError } from "./errors.ts";
import { IS_GROUP_ID_USED, skipUsedIds } from "./identity.ts";
import type { MysqlConnection } from "./mysql_connection.ts";
import { sql } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

/** Creates a group with its creator as the first member. */
export async function createGroup(
  connection: MysqlConnection,
  { groupsPerUser }: StoreLimits,
  creator: number,
  name: string,
  description: string,
): Promise<{ id: number } | Rejection> {
  const [, , named, groups] = await connection.query(
    BEGIN,
    lockUser(creator),
    sql`SELECT 1 FROM AllGroup WHERE groupname = ${name}`, // a failed INSERT would use up an id
    sql`SELECT count(*) AS count FROM GroupUser WHERE userid = ${creator}`,
  );
  if (named!.rows.length > 0) return { refused: "name_in_use" };
  if (groups!.rows[0]!.count as number >= groupsPerUser) return { refused: "full" };
  try {
    const [inserted, referred] = await connection.query(
      sql`INSERT INTO AllGroup (groupname, groupdesc, members) VALUES (${name}, ${description}, 1)`,
      IS_GROUP_ID_USED,
    );
    if (referred!.rows[0]!.used) await skipUsedIds(connection);
    await connection.query(
      sql`INSERT INTO GroupUser (groupid, userid, grouprole)
          VALUES (last_insert_id(), ${creator}, 'creator')`,
      sql`INSERT INTO Conversation (low, high, last_seq) VALUES (0, last_insert_id(), 0)`,
      sql`INSERT INTO MemberCursor (userid, low, high, seq) VALUES (${creator}, 0, last_insert_id(), 0)`,
      COMMIT,
    );
    return { id: inserted!.insertId };
  } catch (error) {
    if ((error as DatabaseError).kind !== "duplicate") throw error;
    const [named] = await connection.query(sql`SELECT 1 FROM AllGroup WHERE groupname = ${name}`);
    if (named!.rows.length > 0) return { refused: "name_in_use" }; // another node has just created it
    throw error;
  }
}

/**
 * Adds the user to a group. The new cursor is the last seq at this moment. Messages that other nodes commit
 * before the end of this transaction count as unread, so that none is lost.
 */
export async function joinGroup(
  connection: MysqlConnection,
  { groupsPerUser, membersPerGroup }: StoreLimits,
  user: number,
  group: number,
): Promise<{ name: string } | Rejection> {
  const [, , locked, member, groups, conversation] = await connection.query(
    BEGIN,
    lockUser(user),
    sql`SELECT groupname, members FROM AllGroup WHERE id = ${group} FOR UPDATE`,
    sql`SELECT 1 FROM GroupUser WHERE groupid = ${group} AND userid = ${user}`,
    sql`SELECT count(*) AS count FROM GroupUser WHERE userid = ${user}`,
    sql`SELECT last_seq FROM Conversation WHERE low = 0 AND high = ${group}`,
  );
  const [found] = locked!.rows;
  if (!found) return { refused: "not_found" };
  const name = found.groupname as string;
  if (member!.rows.length > 0) return { name };
  const isFull = found.members as number >= membersPerGroup ||
    groups!.rows[0]!.count as number >= groupsPerUser;
  if (isFull) return { refused: "full" };
  const last = (conversation!.rows[0]?.last_seq ?? 0) as number;
  await connection.query(
    sql`INSERT INTO GroupUser (groupid, userid, grouprole) VALUES (${group}, ${user}, 'normal')`,
    sql`UPDATE AllGroup SET members = members + 1 WHERE id = ${group}`,
    // A cursor of an earlier membership may exist.
    sql`INSERT INTO MemberCursor (userid, low, high, seq) VALUES (${user}, 0, ${group}, ${last})
        ON DUPLICATE KEY UPDATE seq = VALUES(seq)`,
    COMMIT,
  );
  return { name };
}

/**
 * Returns the statement that locks a user. Each change under a per-user limit locks the user first, so that
 * the limit holds across nodes.
 */
export function lockUser(user: number): ReturnType<typeof sql> {
  return sql`SELECT 1 FROM User WHERE id = ${user} FOR UPDATE`;
}
