/**
 * How messages look to a client: the one place where the framed and the classic dialect differ on the way
 * out.
 */
import { Buffer } from "node:buffer";
import type { StoredMessage } from "../../store/store.ts";
import { encodeFrame } from "../../wire/framed.ts";
import { MAX_SERVER_FRAME_BYTES, Msg } from "../../wire/protocol.ts";

/** Any message from the server, as it stands in docs/PROTOCOL.md. */
export interface ServerMessage {
  readonly msgid: number;
  readonly [field: string]: unknown;
}

/** A message of a conversation as its recipients get it: 6 of a pair, or 10 of a group. */
export interface ChatMessage extends ServerMessage {
  readonly id: number;
  readonly name: string;
  readonly toid?: number;
  readonly groupid?: number;
  readonly msg: string;
  readonly time: number;
  readonly seq: number;
  readonly cid: string;
}

/** A user in a list. */
export interface ListedUser {
  readonly id: number;
  readonly name: string;
  readonly state: "online" | "offline";
  readonly role?: "creator" | "normal";
}

/** `online` or `offline`, as the protocol says it. */
export function stateOf(online: boolean): ListedUser["state"] {
  return online ? "online" : "offline";
}

/** A group in a list. */
export interface ListedGroup {
  readonly id: number;
  readonly groupname: string;
  readonly groupdesc: string;
  readonly members: number;
  readonly users: readonly ListedUser[];
}

/** Whom a user knows, as 2 and 29 tell it. */
export interface Roster {
  readonly friends: readonly ListedUser[];
  readonly groups: readonly ListedGroup[];
}

/** A login's answer that missed messages are put into. */
export interface BacklogBuilder {
  /** Adds one, if it fits. */
  add(message: ChatMessage): boolean;
  /** The answer with all that were added. */
  build(): ServerMessage;
}

/** The words and the ways of one dialect. */
export interface Dialect {
  readonly name: "framed" | "classic";
  /** The bytes of a message, or undefined where the dialect has no such message. */
  encode(message: ServerMessage): Uint8Array | undefined;
  /** `message` with as much of the roster as one message can hold. */
  withRoster(message: ServerMessage, roster: Roster): ServerMessage;
  /** Begins to put missed messages into a login's answer; undefined where that isn't done. */
  buildBacklog(reply: ServerMessage): BacklogBuilder | undefined;
  /** Whether a message counts as delivered when the socket has taken it, as there is no DELIVERED. */
  readonly ackOnWrite: boolean;
  /** Milliseconds between two writes of one message each. 0: messages may share a write. */
  readonly writeIntervalMs: number;
}

/** The framed dialect. */
export const framedDialect: Dialect = {
  name: "framed",
  encode: (message) => encodeFrame(JSON.stringify(message)),
  withRoster: (message, roster) => ({
    ...message,
    ...fitRoster(roster, (fitted) => jsonByteLength({ ...message, ...fitted }) <= MAX_SERVER_FRAME_BYTES),
  }),
  buildBacklog: () => undefined,
  ackOnWrite: false,
  writeIntervalMs: 0,
};

/**
 * A stored message as its recipients get it. `to` is the recipient of a pair's message, or minus the group.
 */
export function chatMessage(stored: StoredMessage, to: number): ChatMessage {
  const { sender: id, senderName: name, body: msg, time, seq, cid } = stored;
  return to > 0
    ? { msgid: Msg.ONE_CHAT, id, name, toid: to, msg, time, seq, cid }
    : { msgid: Msg.GROUP_CHAT, id, name, groupid: -to, msg, time, seq, cid };
}

/** Bytes of a value as JSON. */
export function jsonByteLength(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/**
 * The most of a roster that `fits`: what is too much is left out from the end of the groups' `users` (of all
 * groups alike), then of `groups`, then of `friends`.
 */
export function fitRoster(roster: Roster, fits: (roster: Roster) => boolean): Roster {
  if (fits(roster)) return roster;
  const users = (count: number) => ({
    ...roster,
    groups: roster.groups.map((group) => ({ ...group, users: group.users.slice(0, count) })),
  });
  const maxUsers = Math.max(0, ...roster.groups.map((group) => group.users.length));
  const withUsers = largestFitting(maxUsers, users, fits);
  if (withUsers) return withUsers;
  const withoutUsers = users(0);
  const withGroups = largestFitting(
    withoutUsers.groups.length,
    (count) => ({ ...withoutUsers, groups: withoutUsers.groups.slice(0, count) }),
    fits,
  );
  if (withGroups) return withGroups;
  const friendsOnly = (count: number) => ({ friends: roster.friends.slice(0, count), groups: [] });
  return largestFitting(roster.friends.length, friendsOnly, fits) ?? friendsOnly(0);
}

/** The last of `of(0)` … `of(most)` that fits, if they grow and any does. */
function largestFitting<T>(
  max: number,
  make: (count: number) => T,
  fits: (value: T) => boolean,
): T | undefined {
  let [fitting, tooMuch] = [-1, max + 1];
  while (tooMuch - fitting > 1) {
    const middle = (fitting + tooMuch) >> 1;
    if (fits(make(middle))) fitting = middle;
    else tooMuch = middle;
  }
  return fitting < 0 ? undefined : make(fitting);
}
