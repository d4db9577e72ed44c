/** How a conversation is named in a database: by two numbers, the same for all of its users. */
import type { Peer } from "./store.ts";

/** Two users' ids, the lower one first, or 0 and a group's id. */
export type Key = readonly [low: number, high: number];

/** The conversation that `user` sees as `peer`. */
export function keyOf(user: number, peer: Peer): Key {
  if (peer > 0) return user < peer ? [user, peer] : [peer, user];
  return [0, -peer];
}

/** How `user` sees the conversation; the inverse of {@link keyOf}. */
export function peerOf(user: number, [low, high]: Key): Peer {
  if (low === 0) return -high;
  return low === user ? high : low;
}
