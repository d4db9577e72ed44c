/**
 * What things are called in Redis. In a cluster the part in braces decides where a name lives, so that each user and
 * each group is on one server, and all that the nodes tell each other of themselves is on one, too.
 */
import type { Channel } from "../bus.ts";

/** Other programs' names in the same Redis begin otherwise. */
const PREFIX = "chat:";

/** The channel that every node listens to. */
export const EVERYBODY = `${PREFIX}{nodes}`;

/** The name of a user's or a group's channel. */
export function channelName(channel: Channel): string {
  return channel > 0 ? `${PREFIX}u:{${channel}}` : `${PREFIX}g:{${-channel}}`;
}

/** The key of the lock on a user's login. */
export function lockName(user: number): string {
  return `${PREFIX}lock:{${user}}`;
}

/** The key of a bucket. */
export function bucketName(bucket: string): string {
  return `${PREFIX}bucket:{${bucket}}`;
}

/** The channel that only the node with this id subscribes, to be seen by the others. */
export function nodeName(id: string): string {
  return `${EVERYBODY}:${id}`;
}

/** The id in a node's channel's name. */
export function nodeIdOf(name: string): string {
  return name.slice(EVERYBODY.length + 1);
}
