/** The key of a conversation in the database, which is the same for all of its users. */
import type { Peer } from "./store.ts";

/** Two users' ids in ascending order, or 0 and a group's id. */
export type ConversationKey = readonly [low: number, high: number];

/** Returns the key of the conversation between `user` and `peer`. */
export function conversationKey(user: number, peer: Peer): ConversationKey {
  if (peer > 0) return user < peer ? [user, peer] : [peer, user];
  return [0, -peer];
}

/** Returns the conversation's peer from the view of `user`: the inverse of {@link conversationKey}. */
export function peerOf(user: number, [low, high]: ConversationKey): Peer {
  if (low === 0) return -high;
  return low === user ? high : low;
}

/** Returns the key of a conversation as a string, for a Map. */
export function conversationName([low, high]: ConversationKey): string {
  return `${low} ${high}`;
}
