/** Contacts of users: friends, groups, and members of groups. */
import type { Contacts, Member, Rejection } from "../store.ts";
import type { Pool } from "./pool.ts";
import type { Row } from "./mysql_connection.ts";
import { BATCH_LIMIT, type BatchedRead } from "./read_batches.ts";
import { inList, Sql, sql } from "./sql.ts";

/**
 * Groups in one statement that reads their first members: all that one user has by default. More groups take
 * longer each, and the statement could be longer than the server permits.
 */
const GROUPS_PER_QUERY = 500;

/** A page of the users that have `user` as a friend: ids above `after`, by id. */
export interface FollowerPage {
  readonly user: number;
  readonly after: number;
  readonly limit: number;
}

/** Returns pages of followers. */
export const FOLLOWER_READ: BatchedRead<FollowerPage, readonly number[]> = {
  statements(pages) {
    const each = pages.map(({ user, after }) => sql`(friendid = ${user} AND userid > ${after})`.text);
    const limit = pages.length === 1 ? sql`LIMIT ${pages[0]!.limit}` : BATCH_LIMIT;
    return [
      sql`SELECT friendid, userid FROM Friend WHERE ${new Sql(each.join(" OR "))}
          ORDER BY friendid, userid ${limit}`,
    ];
  },
  results: (_, pages, [found]) =>
    Promise.resolve(
      pages.map(({ user, after, limit }) =>
        found!.rows.filter(({ friendid, userid }) => friendid === user && userid as number > after)
          .slice(0, limit)
          .map(({ userid }) => userid as number)
      ),
    ),
};

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

/** A user whose contacts are wanted, each group with its first `usersPerGroup` members. */
export interface ContactsOf {
  readonly user: number;
  readonly usersPerGroup: number;
}

/** Returns users' friends and groups, each group with its first members. */
export const CONTACTS_READ: BatchedRead<ContactsOf, Contacts> = {
  statements(reads) {
    const users = inList("userid", reads.map(({ user }) => user));
    const limit = reads.length === 1 ? sql`` : BATCH_LIMIT;
    return [
      sql`SELECT userid, id, name FROM Friend JOIN User ON id = friendid WHERE ${users}
          ORDER BY userid, friendid ${limit}`,
      sql`SELECT userid, id, groupname AS name, groupdesc AS description, members
          FROM GroupUser JOIN AllGroup ON id = groupid WHERE ${users} ORDER BY userid, groupid ${limit}`,
    ];
  },
  async results(pool, reads, [friends, groups]) {
    const friendsOf = Map.groupBy(friends!.rows, ({ userid }) => userid);
    const groupsOf = Map.groupBy(groups!.rows, ({ userid }) => userid);
    const members = Map.groupBy(
      await firstMembers(
        pool,
        [...new Set(groups!.rows.map(({ id }) => id as number))],
        Math.max(...reads.map(({ usersPerGroup }) => usersPerGroup)),
      ),
      ({ groupid }) => groupid,
    );
    return reads.map(({ user, usersPerGroup }) => ({
      friends: (friendsOf.get(user) ?? []).map(({ id, name }) => ({
        id: id as number,
        name: name as string,
      })),
      groups: (groupsOf.get(user) ?? []).map(({ id, name, description, members: count }) => ({
        id: id as number,
        name: name as string,
        description: description as string,
        members: count as number,
        users: (members.get(id) ?? []).slice(0, usersPerGroup).map(memberOf),
      })),
    }));
  },
};

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
  const found: Row[] = [];
  for (let at = 0; at < groups.length; at += GROUPS_PER_QUERY) {
    const each = groups.slice(at, at + GROUPS_PER_QUERY).map((group) =>
      sql`(SELECT groupid, userid, grouprole FROM GroupUser WHERE groupid = ${group}
           ORDER BY grouprole, userid LIMIT ${limit})`.text
    );
    const [members] = await pool.read(
      sql`SELECT groupid, id, name, grouprole AS role FROM (${new Sql(each.join(" UNION ALL "))}) AS first
          JOIN User ON id = userid ORDER BY groupid, grouprole, id`,
    );
    found.push(...members!.rows);
  }
  return found;
}

function memberOf({ id, name, role }: Row): Member {
  return { id: id as number, name: name as string, role: role as Member["role"] };
}
