/** How far the members of conversations have said to have them. */
import { type Key, keyOf } from "../conversation.ts";
import type { Delivered } from "../store.ts";
import { byKey } from "./known.ts";
import type { Session } from "./session.ts";
import { among, rows, sql } from "./sql.ts";

/** A cursor: whose, of which conversation, and where it is. */
type Cursor = readonly [user: number, ...Key, seq: number];

/** Moves cursors forward: never back, and never past the last seq. Those that aren't there are ignored. */
export async function moveCursors(session: Session, upTo: readonly Delivered[]): Promise<void> {
  const wanted = new Map<string, Cursor>();
  for (const { user, peer, seq } of upTo) {
    const key = keyOf(user, peer);
    const name = `${user} ${key.join(" ")}`;
    if (seq > (wanted.get(name)?.[3] ?? 0)) wanted.set(name, [user, ...key, seq]);
  }
  const names = [...wanted.values()].map(([user, low, high]) => [user, low, high]);
  const [behind] = await session.query(
    sql`SELECT userid, low, high, seq, COALESCE(last_seq, ( -- an operator may have deleted the conversation's row
          SELECT MAX(seq) FROM Message WHERE low = MemberCursor.low AND high = MemberCursor.high
        ), 0) AS last_seq
        FROM MemberCursor LEFT JOIN Conversation USING (low, high)
        WHERE ${among("(userid, low, high)", names)} AND (last_seq IS NULL OR seq < last_seq)`,
  );
  const moved = behind!.rows.flatMap(({ userid, low, high, seq, last_seq: last }) => {
    const name = [userid, low, high] as readonly number[];
    const to = Math.min(wanted.get(name.join(" "))![3], last as number);
    return to > (seq as number) ? [[...name, to]] : [];
  });
  if (moved.length === 0) return;
  await session.query(
    sql`INSERT INTO MemberCursor (userid, low, high, seq) VALUES ${rows(moved.sort(byKey))}
        ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))`,
  );
}
