/**
 * The encoding of messages to clients. Only here the framed and the classic dialect differ on the way out.
 */
import { Buffer } from "node:buffer";
import type { StoredMessage } from "../../store/store.ts";
import { encodeFrame } from "../../wire/framed.ts";
import { MAX_SERVER_FRAME_BYTES, Msg } from "../../wire/protocol.ts";

/** A message of the server, as in docs/PROTOCOL.md. */
export interface ServerMessage {
  readonly msgid: number;
  readonly [field: string]: unknown;
}

/** A message of a conversation for its recipients: ONE_CHAT of a pair, GROUP_CHAT of a group. */
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

/** Returns the state as the protocol has it. */
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

/** The friends and groups of a user, as in LOGIN_ACK and CONTACTS_ACK. */
export interface Roster {
  readonly friends: readonly ListedUser[];
  readonly groups: readonly ListedGroup[];
}

/** A builder of a reply to a login that contains unread messages. */
export interface BacklogBuilder {
  /** Adds a message. Returns false if it does not fit. */
  add(message: ChatMessage): boolean;
  /** Returns the reply with the messages that were added. */
  build(): ServerMessage;
}

/** A dialect of the protocol. */
export interface Dialect {
  readonly name: "framed" | "classic";
  /** Returns the bytes of a message, or undefined if the dialect has no such message. */
  encode(message: ServerMessage): Uint8Array | undefined;
  /** Returns the message with as much of the roster as fits. */
  withRoster(message: ServerMessage, roster: Roster): ServerMessage;
  /**
   * Returns a builder of a reply to a login with unread messages, or undefined if the dialect sends them
   * separately.
   */
  buildBacklog(reply: ServerMessage): BacklogBuilder | undefined;
  /** Whether a message counts as delivered when it has been written, because the dialect has no DELIVERED. */
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

/** Returns a stored message for its recipients. `to` is the recipient, or minus the group's id. */
export function chatMessage(stored: StoredMessage, to: number): ChatMessage {
  const { sender: id, senderName: name, body: msg, time, seq, cid } = stored;
  return to > 0
    ? { msgid: Msg.ONE_CHAT, id, name, toid: to, msg, time, seq, cid }
    : { msgid: Msg.GROUP_CHAT, id, name, groupid: -to, msg, time, seq, cid };
}

/** Returns the length of a value as JSON, in bytes. */
export function jsonByteLength(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

/**
 * Returns the largest part of a roster that fits. It leaves out entries from the end: first `users` (of all
 * groups alike), then `groups`, then `friends`.
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

/** Returns the last of `make(0)` … `make(max)` that fits, or undefined. Their sizes must increase. */
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
