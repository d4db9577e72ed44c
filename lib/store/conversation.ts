/** How a conversation is named in a database: by two numbers, the same for all of its users. */
import type { Peer } from "./store.ts";

/** Two users' ids, the lower one first, or 0 and a group's id. */
export type ConversationKey = readonly [low: number, high: number];

/** The conversation that `user` sees as `peer`. */
export function conversationKey(user: number, peer: Peer): ConversationKey {
  if (peer > 0) return user < peer ? [user, peer] : [peer, user];
  return [0, -peer];
}

/** How `user` sees the conversation; the inverse of {@link conversationKey}. */
export function peerOf(user: number, [low, high]: ConversationKey): Peer {
  if (low === 0) return -high;
  return low === user ? high : low;
}
