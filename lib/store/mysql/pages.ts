/** Reading the message log. */
import { type Key, keyOf, peerOf } from "../conversation.ts";
import type { Page, Peer, Refused, StoredMessage, Unread } from "../store.ts";
import { membership } from "./contacts.ts";
import type { Pool } from "./pool.ts";
import type { Row } from "./session.ts";
import { among, type Sql, sql } from "./sql.ts";

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Conversations with messages after the user's cursor, the longest waiting first. */
export async function unread(pool: Pool, user: number, limit: number): Promise<Unread[]> {
  const [found] = await pool.read(
    sql`SELECT low, high, MemberCursor.seq AS cursor_seq, last_seq, time
        FROM MemberCursor JOIN Conversation USING (low, high) JOIN Message USING (low, high)
        WHERE userid = ${user} AND last_seq > MemberCursor.seq AND Message.seq = MemberCursor.seq + 1
        ORDER BY time, low, high LIMIT ${limit}`,
  );
  return found!.rows.map(({ low, high, cursor_seq: cursor, last_seq: last, time }) => ({
    peer: peerOf(user, [low as number, high as number]),
    cursor: cursor as number,
    last: last as number,
    since: time as number,
  }));
}

/** Which of these users have messages after their cursors. */
export async function behind(pool: Pool, users: readonly number[]): Promise<number[]> {
  const [found] = await pool.read(
    sql`SELECT id FROM User WHERE ${among("id", users)} AND EXISTS (
          SELECT 1 FROM MemberCursor JOIN Conversation USING (low, high) WHERE userid = id AND last_seq > seq
        )`,
  );
  return found!.rows.map(({ id }) => id as number);
}

/** Messages after `after`, or after the user's cursor. */
export async function read(
  pool: Pool,
  user: number,
  peer: Peer,
  after: number | undefined,
  limit: number,
  maxBytes: number,
): Promise<Page> {
  const key = keyOf(user, peer);
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

/** The messages just before a seq. */
export async function history(
  pool: Pool,
  user: number,
  peer: Peer,
  before: number | undefined,
  limit: number,
  maxBytes: number,
): Promise<StoredMessage[] | Refused> {
  const asked = peer > 0
    ? [sql`SELECT 1 FROM User WHERE id = ${peer}`, sql`SELECT 1`]
    : membership(user, -peer);
  const condition = before === undefined ? sql`TRUE` : sql`seq < ${before}`;
  const [exists, isMember, page] = await pool.read(
    ...asked,
    messages(keyOf(user, peer), condition, sql`seq DESC`, limit, maxBytes),
  );
  if (exists!.rows.length === 0) return { refused: "not_found" };
  if (isMember!.rows.length === 0) return { refused: "forbidden" };
  return page!.rows.map(messageOf).reverse();
}

/**
 * The first messages in this order, as many as the page may have: their sizes are looked at first, so that no more
 * bodies are fetched than there is room for.
 */
function messages([low, high]: Key, condition: Sql, order: Sql, limit: number, maxBytes: number): Sql {
  return sql`
    SELECT Message.seq, sender, User.name AS senderName, cid, body, time
    FROM (
      SELECT seq, row_number() OVER (ORDER BY ${order}) AS place, sum(bytes) OVER (ORDER BY ${order}) AS total
      FROM (
        SELECT seq, octet_length(body) AS bytes FROM Message
        WHERE low = ${low} AND high = ${high} AND ${condition} ORDER BY ${order} LIMIT ${limit}
      ) AS candidate
    ) AS chosen
    JOIN Message ON low = ${low} AND high = ${high} AND Message.seq = chosen.seq
    JOIN User ON User.id = sender
    WHERE place = 1 OR total <= ${maxBytes}
    ORDER BY ${order}`;
}

function messageOf({ seq, sender, senderName, cid, body, time }: Row): StoredMessage {
  return {
    seq: seq as number,
    sender: sender as number,
    senderName: senderName as string,
    cid: utf8.decode(cid as Uint8Array),
    body: body as string,
    time: time as number,
  };
}
