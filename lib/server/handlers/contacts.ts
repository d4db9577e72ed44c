/** CONTACTS: the user's friends and groups. */
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import type { ReplyBody } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import { loadRoster } from "../sessions/roster.ts";
import type { Session } from "../sessions/session.ts";

export async function contacts(
  { node, connection }: Client,
  session: Session,
  _fields: unknown,
  rid: Rid | undefined,
): Promise<ReplyBody> {
  const base = { msgid: Msg.CONTACTS_ACK, errno: Errno.OK, rid }; // withRoster counts its bytes, too
  const { msgid: _, ...reply } = connection.dialect!.withRoster(base, await loadRoster(node, session));
  return reply;
}
