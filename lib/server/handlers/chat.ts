/** ONE_CHAT_MSG and GROUP_CHAT_MSG: committed first, then answered and delivered (invariants I1 and I3). */
import type { Peer } from "../../store/store.ts";
import { Errno } from "../../wire/protocol.ts";
import { type Answer, RequestError } from "../protocol/reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import type { Node } from "../node.ts";
import type { Session } from "../sessions/session.ts";
import { storedBytes } from "../limits/storage_quota.ts";
import { granted } from "./refusal.ts";

export function oneChat(
  { node }: Caller,
  session: Session,
  { toid, msg, cid }: { toid: number; msg: string; cid: string | undefined },
): Promise<Answer> {
  if (toid === session.user) throw new RequestError(Errno.BAD_REQUEST, "toid is your own id");
  return chat(node, session, toid, msg, cid);
}

const PUSHES = 4; // to members on this node, that cost as much as a simple request

export async function groupChat(
  { node, allowance }: Caller,
  session: Session,
  { groupid, msg, cid }: { groupid: number; msg: string; cid: string | undefined },
): Promise<Answer> {
  const answer = await chat(node, session, -groupid, msg, cid);
  allowance?.charge(node.sessions.inGroup(groupid).size / PUSHES, 0, performance.now());
  return answer;
}

async function chat(
  node: Node,
  session: Session,
  peer: Peer,
  body: string,
  cid: string = crypto.randomUUID(), // without the sender's own, a retry can't be told from a new message
): Promise<Answer> {
  const sender = session.user;
  const append = (isRepeat: boolean) =>
    node.store.append({ sender, peer, cid, body, time: node.now(), isRepeat });
  const result = await node.storageQuota.store(session, storedBytes(body, cid), append);
  if ("refused" in result && result.refused === "not_found" && peer > 0) await checkAccount(node, sender);
  const { seq, time, repeated } = granted(result, {
    not_found: peer > 0 ? `there is no user ${peer}` : `there is no group ${-peer}`,
    forbidden: `you are not a member of group ${-peer}`,
    disk_full: "the server's disk is nearly full; nothing was accepted",
    cid_reused: "cid is the one of your message in another conversation",
  });
  if (repeated) void node.deliverAgain(session, peer, seq);
  else node.deliver(session, peer, { seq, sender, senderName: session.name, cid, body, time });
  return { seq, time };
}

/**
 * A pair lacks one of its users: throws a {@link RequestError} if that is the sender, whose account was
 * deleted.
 */
async function checkAccount(node: Node, sender: number): Promise<void> {
  if (await node.store.findUser({ id: sender })) return;
  throw new RequestError(Errno.NOT_FOUND, "your account does not exist any more");
}
