/** HISTORY: what was said in a conversation, page by page into the past. */
import { Errno, MAX_SERVER_FRAME, type Rid } from "../../wire/protocol.ts";
import { type Answer, RequestError } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import { type ChatMessage, chatMessage, jsonBytes } from "../protocol/dialect.ts";
import type { Session } from "../sessions/session.ts";
import { pageSize } from "./page.ts";
import { namedPeer } from "./peer.ts";
import { granted } from "./refusal.ts";

/** Messages in one answer when the request doesn't say. */
const HISTORY_USUALLY = 50;
/** Bytes of message text read for one answer. As JSON they may be more, so what is sent is measured again. */
const HISTORY_BYTES = 262_144;
/** Bytes of an answer that are neither messages nor rid: far more than its other fields take. */
const HISTORY_FRAME = 1_024;

/** The fields of a HISTORY. */
export interface HistoryFields {
  readonly id: number | undefined;
  readonly groupid: number | undefined;
  readonly before: number | undefined;
  readonly limit: number | undefined;
}

export async function history(
  { node }: Caller,
  session: Session,
  fields: HistoryFields,
  rid: Rid | undefined,
): Promise<Answer> {
  const { before, limit } = fields;
  const peer = namedPeer(fields);
  if (peer === session.user) throw new RequestError(Errno.BAD_REQUEST, "id is your own");
  const most = pageSize(limit, HISTORY_USUALLY, node.config.historyPage);
  const page = granted(
    await node.store.history(session.user, peer, before, most, HISTORY_BYTES),
    {
      not_found: peer > 0 ? `there is no user ${peer}` : `there is no group ${-peer}`,
      forbidden: `you are not a member of group ${-peer}`,
    },
  );
  return {
    ...(peer > 0 ? { id: peer } : { groupid: -peer }),
    messages: latest(
      page.map((message) => chatMessage(message, toOf(message.sender, peer, session.user))),
      MAX_SERVER_FRAME - HISTORY_FRAME - jsonBytes(rid ?? ""),
    ),
  };
}

/** The last of the messages: as many as there is room for, in bytes. */
function latest(messages: readonly ChatMessage[], room: number): readonly ChatMessage[] {
  const fitting = messages.findLastIndex((message) => (room -= jsonBytes(message) + 1) < 0);
  return messages.slice(fitting + 1);
}

function toOf(sender: number, peer: number, user: number): number {
  if (peer < 0) return peer;
  return sender === user ? peer : user;
}
