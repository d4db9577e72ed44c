/** Contacts of users: friends, groups, and members of groups. */
import type { Contacts, Member, Rejection } from "../store.ts";
import type { Pool } from "./pool.ts";
import type { Row } from "./mysql_connection.ts";
import { inList, Sql, sql } from "./sql.ts";

/** Returns the users that have `user` as a friend, with ids above `after`, by id. */
export async function followers(pool: Pool, user: number, after: number, limit: number): Promise<number[]> {
  const [found] = await pool.read(
    sql`SELECT userid FROM Friend
        WHERE friendid = ${user} AND userid > ${after} ORDER BY userid LIMIT ${limit}`,
  );
  return found!.rows.map(({ userid }) => userid as number);
}

/** Returns the friends of each of these users. */
export async function friendsOf(
  pool: Pool,
  users: readonly number[],
): Promise<{ user: number; friend: number }[]> {
  const [found] = await pool.read(
    sql`SELECT userid AS user, friendid AS friend FROM Friend WHERE ${inList("userid", users)}`,
  );
  return found!.rows as { user: number; friend: number }[];
}

/** Returns the user's friends and groups, each group with its first members. */
export async function contacts(pool: Pool, user: number, usersPerGroup: number): Promise<Contacts> {
  const [friends, groups] = await pool.read(
    sql`SELECT id, name FROM Friend JOIN User ON id = friendid WHERE userid = ${user} ORDER BY friendid`,
    sql`SELECT id, groupname AS name, groupdesc AS description, members
        FROM GroupUser JOIN AllGroup ON id = groupid WHERE userid = ${user} ORDER BY groupid`,
  );
  const ids = groups!.rows.map(({ id }) => id as number);
  const members = Map.groupBy(
    await firstMembers(pool, ids, usersPerGroup),
    ({ groupid }) => groupid as number,
  );
  return {
    friends: friends!.rows as unknown as Contacts["friends"],
    groups: groups!.rows.map(({ id, name, description, members: count }) => ({
      id: id as number,
      name: name as string,
      description: description as string,
      members: count as number,
      users: (members.get(id as number) ?? []).map(memberOf),
    })),
  };
}

/** Returns the members of a group, with ids above `after`, by id. Rejects users that are not members. */
export async function members(
  pool: Pool,
  user: number,
  group: number,
  after: number,
  limit: number,
): Promise<Member[] | Rejection> {
  const [exists, isMember, found] = await pool.read(
    ...membershipQueries(user, group),
    sql`SELECT id, name, grouprole AS role FROM GroupUser JOIN User ON id = userid
        WHERE groupid = ${group} AND userid > ${after} ORDER BY userid LIMIT ${limit}`,
  );
  if (exists!.rows.length === 0) return { refused: "not_found" };
  if (isMember!.rows.length === 0) return { refused: "forbidden" };
  return found!.rows.map(memberOf);
}

/** Returns two statements. The first has a row if the group exists, the second if the user is a member. */
export function membershipQueries(user: number, group: number): [Sql, Sql] {
  return [
    sql`SELECT 1 FROM AllGroup WHERE id = ${group}`,
    sql`SELECT 1 FROM GroupUser WHERE groupid = ${group} AND userid = ${user}`,
  ];
}

/**
 * Reads the first members of each group by a query of its own: one query for all groups would read all
 * members.
 */
async function firstMembers(pool: Pool, groups: readonly number[], limit: number): Promise<readonly Row[]> {
  if (groups.length === 0) return [];
  const each = groups.map((group) =>
    sql`(SELECT groupid, userid, grouprole FROM GroupUser WHERE groupid = ${group}
         ORDER BY grouprole, userid LIMIT ${limit})`.text
  );
  const [found] = await pool.read(
    sql`SELECT groupid, id, name, grouprole AS role FROM (${new Sql(each.join(" UNION ALL "))}) AS first
        JOIN User ON id = userid ORDER BY groupid, grouprole, id`,
  );
  return found!.rows;
}

function memberOf({ id, name, role }: Row): Member {
  return { id: id as number, name: name as string, role: role as Member["role"] };
}
