/** HISTORY: the messages of a conversation, page by page into the past. */
import { Errno, MAX_SERVER_FRAME_BYTES, type Rid } from "../../wire/protocol.ts";
import { type ReplyBody, RequestError } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import { type ChatMessage, chatMessage, jsonByteLength } from "../protocol/dialect.ts";
import type { Session } from "../sessions/session.ts";
import { pageSize } from "./page.ts";
import { namedPeer } from "./peer.ts";
import { unwrap } from "./refusal.ts";

/** Messages per reply if the request has no limit. */
const DEFAULT_HISTORY_LIMIT = 50;
/**
 * Bytes of message text that are read for one reply. Their JSON may be longer, so the reply is measured
 * again.
 */
const MAX_TEXT_BYTES = 262_144;
/** Bytes of a reply besides the messages and the rid: far more than the other fields take. */
const FRAME_OVERHEAD_BYTES = 1_024;

/** The fields of a HISTORY. */
export interface HistoryFields {
  readonly id: number | undefined;
  readonly groupid: number | undefined;
  readonly before: number | undefined;
  readonly limit: number | undefined;
}

export async function history(
  { node }: Client,
  session: Session,
  fields: HistoryFields,
  rid: Rid | undefined,
): Promise<ReplyBody> {
  const { before, limit } = fields;
  const peer = namedPeer(fields);
  if (peer === session.user) throw new RequestError(Errno.BAD_REQUEST, "id is your own");
  const count = pageSize(limit, DEFAULT_HISTORY_LIMIT, node.config.historyPage);
  const page = unwrap(
    await node.store.history(session.user, peer, before, count, MAX_TEXT_BYTES),
    {
      not_found: peer > 0 ? `there is no user ${peer}` : `there is no group ${-peer}`,
      forbidden: `you are not a member of group ${-peer}`,
    },
  );
  return {
    ...(peer > 0 ? { id: peer } : { groupid: -peer }),
    messages: latest(
      page.map((message) => chatMessage(message, recipientOf(message.sender, peer, session.user))),
      MAX_SERVER_FRAME_BYTES - FRAME_OVERHEAD_BYTES - jsonByteLength(rid ?? ""),
    ),
  };
}

/** Returns as many of the last messages as fit into `remainingBytes`. */
function latest(messages: readonly ChatMessage[], remainingBytes: number): readonly ChatMessage[] {
  const lastOmitted = messages.findLastIndex((message) =>
    (remainingBytes -= jsonByteLength(message) + 1) < 0
  );
  return messages.slice(lastOmitted + 1);
}

function recipientOf(sender: number, peer: number, user: number): number {
  if (peer < 0) return peer;
  return sender === user ? peer : user;
}
