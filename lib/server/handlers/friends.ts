/**
 * ADD_FRIEND_MSG: adds a user to the sender's friends. The relation is one-way: the other user need not
 * agree.
 */
import { Errno } from "../../wire/protocol.ts";
import { type ReplyBody, RequestError } from "../protocol/reply_body.ts";
import type { Client } from "../sessions/client.ts";
import { stateOf } from "../protocol/dialect.ts";
import type { Session } from "../sessions/session.ts";
import { unwrap } from "./refusal.ts";

export async function addFriend(
  { node }: Client,
  session: Session,
  { friendid }: { friendid: number },
): Promise<ReplyBody> {
  if (friendid === session.user) throw new RequestError(Errno.BAD_REQUEST, "friendid is your own id");
  const { name } = unwrap(await node.store.addFriend(session.user, friendid), {
    not_found: `there is no user ${friendid}`,
    full: `you have ${node.config.maxFriends} friends, which is the limit`,
  });
  const online = (await node.online([friendid])).has(friendid);
  session.markPresenceSent(friendid, online);
  return { friendid, name, state: stateOf(online) };
}
