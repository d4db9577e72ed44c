/** ONE_CHAT_MSG and GROUP_CHAT_MSG: commit first, then acknowledge and deliver (invariants I1 and I3). */
import type { Peer } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { type ReplyBody, RequestError } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import type { Node } from "../node.ts";
import type { Session } from "../sessions/session.ts";
import { storedBytes } from "../limits/storage_quota.ts";
import { unwrap } from "./refusal.ts";

export function oneChat(
  { node }: Client,
  session: Session,
  { toid, msg, cid }: { toid: number; msg: string; cid: string | undefined },
): Promise<ReplyBody> {
  if (toid === session.user) throw new RequestError(Errno.BAD_REQUEST, "toid is your own id");
  return chat(node, session, toid, msg, cid);
}

/** Pushes to members on this node that cost as much as a simple request. */
const PUSHES_PER_REQUEST = 4;

export async function groupChat(
  { node, rateLimiter }: Client,
  session: Session,
  { groupid, msg, cid }: { groupid: number; msg: string; cid: string | undefined },
): Promise<ReplyBody> {
  const reply = await chat(node, session, -groupid, msg, cid);
  rateLimiter?.charge(node.sessions.groupMembers(groupid).size / PUSHES_PER_REQUEST, 0, performance.now());
  return reply;
}

async function chat(
  node: Node,
  session: Session,
  peer: Peer,
  body: string,
  cid: string = crypto.randomUUID(), // without a cid of the sender, a retry is a new message
): Promise<ReplyBody> {
  const sender = session.user;
  const append = (mustBeDuplicate: boolean) =>
    node.store.append({ sender, peer, cid, body, time: node.now(), mustBeDuplicate });
  const result = await node.storageQuota.store(session, storedBytes(body, cid), append);
  if ("refused" in result && result.refused === "not_found" && peer > 0) {
    await assertAccountExists(node, sender);
  }
  const { seq, time, duplicate } = unwrap(result, {
    not_found: peer > 0 ? `there is no user ${peer}` : `there is no group ${-peer}`,
    forbidden: `you are not a member of group ${-peer}`,
    disk_full: "the server's disk is nearly full; the message was not accepted",
    cid_reused: "cid is already used by your message in another conversation",
  });
  if (duplicate) void node.redeliver(session, peer, seq);
  else node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time });
  return { seq, time };
}

/** Throws a {@link RequestError} if the account of the sender was deleted. */
async function assertAccountExists(node: Node, sender: number): Promise<void> {
  if (await node.store.findUser({ id: sender })) return;
  throw new RequestError(Errno.NOT_FOUND, "your account does not exist any more");
}
