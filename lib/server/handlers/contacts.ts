/** CONTACTS: whom the user knows. */
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import type { Answer } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import { rosterOf } from "../sessions/roster.ts";
import type { Session } from "../sessions/session.ts";

export async function contacts(
  { node, connection }: Caller,
  session: Session,
  _fields: unknown,
  rid: Rid | undefined,
): Promise<Answer> {
  const bare = { msgid: Msg.CONTACTS_ACK, errno: Errno.OK, rid }; // it counts towards the frame's size
  const { msgid: _, ...answer } = connection.dialect!.withRoster(bare, await rosterOf(node, session));
  return answer;
}
