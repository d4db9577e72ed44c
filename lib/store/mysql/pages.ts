/** Reading the message log. */
import { type ConversationKey, conversationKey, peerOf } from "../conversation.ts";
import type { Page, Peer, Rejection, StoredMessage, Unread } from "../store.ts";
import { textOf } from "../text.ts";
import { membershipQueries } from "./contacts.ts";
import { compareKeys } from "./conversation_cache.ts";
import type { Pool } from "./pool.ts";
import type { Row } from "./mysql_connection.ts";
import { BATCH_LIMIT, type BatchedRead, MAX_ROWS_PER_BATCH } from "./read_batches.ts";
import { inList, Sql, sql } from "./sql.ts";

/** Conversations in one statement that looks for the first message after a gap. */
const GAPS_PER_QUERY = 200;

/** A conversation with messages after a user's cursor. */
interface UnreadRow {
  readonly user: number;
  readonly key: ConversationKey;
  readonly cursor: number;
  readonly last: number;
  readonly since: number;
}

/** A user whose unread conversations are wanted, at most `limit` of them. */
export interface UnreadOf {
  readonly user: number;
  readonly limit: number;
}

/** Returns users' conversations with unread messages, the longest waiting first. */
export const UNREAD_READ: BatchedRead<UnreadOf, readonly Unread[]> = {
  statements: (reads) => [
    sql`SELECT userid, MemberCursor.low, MemberCursor.high, MemberCursor.seq AS cursor_seq, last_seq, time
        FROM MemberCursor LEFT JOIN Conversation USING (low, high) LEFT JOIN Message
          ON Message.low = MemberCursor.low AND Message.high = MemberCursor.high
          AND Message.seq = MemberCursor.seq + 1
        WHERE ${inList("userid", reads.map(({ user }) => user))}
          AND (last_seq IS NULL OR last_seq > MemberCursor.seq)
        ${BATCH_LIMIT}`,
  ],
  async results(pool, reads, [found]) {
    const { rows } = found!;
    if (rows.length > MAX_ROWS_PER_BATCH) return [await unreadOf(pool, reads[0]!)]; // the only read
    const isGap = ({ last_seq, time }: Row) => last_seq === null || time === null;
    const unreadRows = [
      ...rows.filter((row) => !isGap(row)).map(unreadRowOf),
      ...await unreadAfterGaps(pool, rows.filter(isGap)),
    ];
    const byUser = Map.groupBy(unreadRows, ({ user }) => user);
    return reads.map(({ user, limit }) => firstUnread(byUser.get(user) ?? [], limit));
  },
};

/** Returns one user's conversations with unread messages, of which there are many. */
async function unreadOf(pool: Pool, { user, limit }: UnreadOf): Promise<Unread[]> {
  const [found, gaps] = await pool.read(
    sql`SELECT userid, low, high, MemberCursor.seq AS cursor_seq, last_seq, time
        FROM MemberCursor JOIN Conversation USING (low, high) JOIN Message USING (low, high)
        WHERE userid = ${user} AND last_seq > MemberCursor.seq AND Message.seq = MemberCursor.seq + 1
        ORDER BY time, low, high LIMIT ${limit}`,
    gapQuery([user]),
  );
  const rows = [...found!.rows.map(unreadRowOf), ...await unreadAfterGaps(pool, gaps!.rows)];
  return firstUnread(rows, limit);
}

/** Returns the conversations that wait the longest, of one user. */
function firstUnread(rows: readonly UnreadRow[], limit: number): Unread[] {
  return rows
    .toSorted((a, b) => a.since - b.since || compareKeys(a.key, b.key))
    .slice(0, limit)
    .map(({ user, key, cursor, last, since }) => ({ peer: peerOf(user, key), cursor, last, since }));
}

/** Returns those of these users that have unread messages. */
export async function usersWithUnread(pool: Pool, users: readonly number[]): Promise<number[]> {
  const [found, gaps] = await pool.read(
    sql`SELECT DISTINCT userid
        FROM MemberCursor JOIN Conversation USING (low, high) JOIN Message USING (low, high)
        WHERE ${
      inList("userid", users)
    } AND last_seq > MemberCursor.seq AND Message.seq = MemberCursor.seq + 1`,
    gapQuery(users),
  );
  const result = new Set(found!.rows.map(({ userid }) => userid as number));
  const unsure = gaps!.rows.filter(({ userid }) => !result.has(userid as number));
  for (const { user } of await unreadAfterGaps(pool, unsure)) result.add(user);
  return [...result];
}

/**
 * Returns a query for cursors whose next message, or whose conversation, is missing: an operator has deleted
 * it.
 */
function gapQuery(users: readonly number[]): Sql {
  return sql`
    SELECT userid, low, high, MemberCursor.seq AS cursor_seq, last_seq
    FROM MemberCursor LEFT JOIN Conversation USING (low, high)
    WHERE ${inList("userid", users)} AND (last_seq IS NULL OR last_seq > MemberCursor.seq) AND NOT EXISTS (
      SELECT 1 FROM Message
      WHERE low = MemberCursor.low AND high = MemberCursor.high AND Message.seq = MemberCursor.seq + 1
        AND last_seq IS NOT NULL
    )`;
}

/**
 * Returns the first messages after gaps, by one subquery each. A subquery with a constant seq is one step in
 * the index, while a join would read the conversation from its beginning.
 */
async function unreadAfterGaps(pool: Pool, gaps: readonly Row[]): Promise<UnreadRow[]> {
  const unreadRows: UnreadRow[] = [];
  for (let at = 0; at < gaps.length; at += GAPS_PER_QUERY) {
    const each = gaps.slice(at, at + GAPS_PER_QUERY).map(({ userid, low, high, cursor_seq, last_seq }) => {
      const [l, h, cursor] = [low as number, high as number, cursor_seq as number];
      return sql`(SELECT ${userid as number} AS userid, low, high, ${cursor} AS cursor_seq, GREATEST(
                    ${last_seq as number | null ?? 0},
                    (SELECT MAX(seq) FROM Message WHERE low = ${l} AND high = ${h})
                  ) AS last_seq, time
                  FROM Message WHERE low = ${l} AND high = ${h} AND seq > ${cursor} ORDER BY seq LIMIT 1)`
        .text;
    });
    const [found] = await pool.read(new Sql(each.join(" UNION ALL ")));
    unreadRows.push(...found!.rows.map(unreadRowOf));
  }
  return unreadRows;
}

function unreadRowOf({ userid, low, high, cursor_seq: cursor, last_seq: last, time }: Row): UnreadRow {
  return {
    user: userid as number,
    key: [low as number, high as number],
    cursor: cursor as number,
    last: last as number,
    since: time as number,
  };
}

/** Returns messages after the seq `after`, or by default after the user's cursor. */
export async function read(
  pool: Pool,
  user: number,
  peer: Peer,
  after: number | undefined,
  limit: number,
  maxBytes: number,
): Promise<Page> {
  const key = conversationKey(user, peer);
  const [low, high] = key;
  const cursor = sql`SELECT seq FROM MemberCursor WHERE userid = ${user} AND low = ${low} AND high = ${high}`;
  if (after === undefined) {
    const [found] = await pool.read(cursor);
    if (found!.rows.length === 0) return { after: 0, messages: [] };
    after = found!.rows[0]!.seq as number;
  }
  const [found, page] = await pool.read(
    cursor,
    messages(key, sql`seq > ${after}`, sql`seq`, limit, maxBytes),
  );
  return { after, messages: found!.rows.length > 0 ? page!.rows.map(messageOf) : [] };
}

/** Returns the messages before the seq `before`, or by default the last ones. */
export async function history(
  pool: Pool,
  user: number,
  peer: Peer,
  before: number | undefined,
  limit: number,
  maxBytes: number,
): Promise<StoredMessage[] | Rejection> {
  const accessQueries = peer > 0
    ? [sql`SELECT 1 FROM User WHERE id = ${peer}`, sql`SELECT 1`]
    : membershipQueries(user, -peer);
  const condition = before === undefined ? sql`TRUE` : sql`seq < ${before}`;
  const [exists, isMember, page] = await pool.read(
    ...accessQueries,
    messages(conversationKey(user, peer), condition, sql`seq DESC`, limit, maxBytes),
  );
  if (exists!.rows.length === 0) return { refused: "not_found" };
  if (isMember!.rows.length === 0) return { refused: "forbidden" };
  return page!.rows.map(messageOf).reverse();
}

/**
 * Returns a query for the first messages in this order, up to the limits of a page. It reads the sizes first,
 * so that the server fetches no body in vain.
 */
function messages(
  [low, high]: ConversationKey,
  condition: Sql,
  order: Sql,
  limit: number,
  maxBytes: number,
): Sql {
  return sql`
    SELECT Message.seq, sender, COALESCE(User.name, '') AS senderName, cid, body, time
    FROM (
      SELECT seq, row_number() OVER (ORDER BY ${order}) AS place, sum(bytes) OVER (ORDER BY ${order}) AS total
      FROM (
        SELECT seq, octet_length(body) AS bytes FROM Message
        WHERE low = ${low} AND high = ${high} AND ${condition} ORDER BY ${order} LIMIT ${limit}
      ) AS candidate
    ) AS chosen
    JOIN Message ON low = ${low} AND high = ${high} AND Message.seq = chosen.seq
    LEFT JOIN User ON User.id = sender
    WHERE place = 1 OR total <= ${maxBytes}
    ORDER BY ${order}`;
}

function messageOf({ seq, sender, senderName, cid, body, time }: Row): StoredMessage {
  return {
    seq: seq as number,
    sender: sender as number,
    senderName: senderName as string,
    cid: textOf(cid),
    body: body as string,
    time: time as number,
  };
}
