/** The cursors of the members of conversations. */
import { type ConversationKey, conversationKey } from "../conversation.ts";
import type { CursorUpdate } from "../store.ts";
import type { Fence } from "./fence.ts";
import type { MysqlConnection } from "./mysql_connection.ts";
import { inList, sql, valuesList } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

/** A cursor of a user in a conversation. */
type Cursor = readonly [user: number, ...ConversationKey, seq: number];

/**
 * Advances cursors, and never moves them back. Ignores missing cursors. A seq above the last one of its
 * conversation was committed and is lost: the cursor stays, and `fence` gets a report of the loss.
 */
export async function advanceCursors(
  connection: MysqlConnection,
  fence: Fence,
  updates: readonly CursorUpdate[],
): Promise<void> {
  const wanted = new Map<string, Cursor>();
  for (const { user, peer, seq } of updates) {
    const key = conversationKey(user, peer);
    const name = `${user} ${key.join(" ")}`;
    if (seq > (wanted.get(name)?.[3] ?? 0)) wanted.set(name, [user, ...key, seq]);
  }
  const names = [...wanted.values()].map(([user, low, high]) => [user, low, high]);
  const [, existing] = await connection.query(
    BEGIN,
    sql`SELECT userid, low, high, seq, last_seq IS NOT NULL AS counted, COALESCE(last_seq, (
           SELECT MAX(seq) FROM Message WHERE low = MemberCursor.low AND high = MemberCursor.high
         ), 0) AS last_seq
         FROM MemberCursor LEFT JOIN Conversation USING (low, high)
         WHERE ${inList("(userid, low, high)", names)}
         ORDER BY userid, low, high`, // the order of locks, which excludes deadlocks between nodes
  );
  const advanced = existing!.rows.flatMap(({ userid, low, high, seq, counted, last_seq: last }) => {
    const name = [userid, low, high] as readonly number[];
    let to = wanted.get(name.join(" "))![3];
    if (to > (last as number)) {
      if (counted === 1) {
        fence.reportDataLoss();
        return [];
      }
      to = last as number; // an operator has deleted the row of the conversation, and with it the last seq
    }
    return to > (seq as number) ? [[...name, to]] : [];
  });
  if (advanced.length === 0) return;
  await connection.query(
    sql`INSERT INTO MemberCursor (userid, low, high, seq) VALUES ${valuesList(advanced)}
        ON DUPLICATE KEY UPDATE seq = GREATEST(seq, VALUES(seq))`,
    COMMIT,
  );
}
