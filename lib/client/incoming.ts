/**
 * What the server's messages mean to the client: each field is looked at once, here, so that a server of
 * another version, or none at all, can't bring anything but the types that the rest relies on.
 */
import type { Message } from "../wire/message.ts";
import { Errno, Msg } from "../wire/protocol.ts";

/** One of the user's conversations: the other user's id, or minus a group's id. */
export type Peer = number;

/** A chat message, to the user or of a conversation's history. */
export interface ChatMessage {
  readonly peer: Peer;
  readonly seq: number;
  /** The sender's id and name. */
  readonly id: number;
  readonly name: string;
  readonly text: string;
  /** Milliseconds since 1970, UTC. */
  readonly time: number;
}

/** A user as the server's lists have it. */
export interface User {
  readonly id: number;
  readonly name: string;
  readonly state: string;
  /** In a group: `creator` or `normal`. */
  readonly role: string;
}

/** One of the user's groups. */
export interface Group {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  /** How many members it has; `users` holds the first of them. */
  readonly members: number;
  readonly users: readonly User[];
}

/** The server's no to a request. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";

  constructor(
    /** The protocol's number for it. */
    readonly errno: number,
    message: string,
  ) {
    super(message);
  }
}

/** A reply's errno; a reply without one is taken for a good one. */
export function errnoOf(reply: Message): number {
  return number(reply.errno);
}

/** Whether it says that the request may succeed when it is sent again later. */
export function isRetryable(reply: Message): boolean {
  return errnoOf(reply) === Errno.RATE_LIMITED || errnoOf(reply) === Errno.UNAVAILABLE;
}

const MIN_RETRY_MS = 20; // milliseconds, so that a server that says 0 isn't asked in a tight loop
const MAX_RETRY_MS = 60_000; // milliseconds, so that a slip of the server's doesn't stop the client for good
const DEFAULT_RETRY_MS = 1_000; // milliseconds where the server doesn't say

/** How long a reply or a notice asks the client to wait, in milliseconds. */
export function retryAfterMs(message: Message): number {
  const asked = number(message.retry_after, DEFAULT_RETRY_MS);
  return Math.min(Math.max(asked, MIN_RETRY_MS), MAX_RETRY_MS);
}

/** A reply's error, for the caller that made the request. */
export function toRefusedError(reply: Message): RefusedError {
  return new RefusedError(errnoOf(reply), errorText(reply) || `the server answered errno ${errnoOf(reply)}`);
}

/** The server's own words about an error, or why it sends a notice. */
export function errorText(message: Message): string {
  return string(message.errmsg);
}

/** Whether it answers a request, and isn't something that the server sends on its own. */
export function isReply({ msgid }: Message): boolean {
  return REPLIES.has(msgid);
}
const REPLIES = new Set<number>([
  ...[Msg.LOGIN_ACK, Msg.REGISTER_ACK, Msg.ACK, Msg.HISTORY_ACK, Msg.CONTACTS_ACK, Msg.MEMBERS_ACK],
]);

/** The chat message that it is, as the user `me` sees it; undefined if it isn't one or lacks what one needs. */
export function readChat(message: Message, ownId: number): ChatMessage | undefined {
  const [id, seq] = [number(message.id), number(message.seq)];
  if (id < 1 || seq < 1) return undefined;
  let peer: Peer;
  if (message.msgid === Msg.GROUP_CHAT) peer = -number(message.groupid);
  else if (message.msgid === Msg.ONE_CHAT) peer = id === ownId ? number(message.toid) : id;
  else return undefined;
  if (peer === 0) return undefined;
  const { name, msg, time } = message;
  return { peer, seq, id, name: string(name), text: string(msg), time: number(time) };
}

/** The messages of a piece of the history with `peer`, oldest first. */
export function readHistory(reply: Message, peer: Peer): ChatMessage[] {
  return objects(reply.messages).map(({ seq, id, name, msg, time }) => ({
    ...{ peer, seq: number(seq), id: number(id), name: string(name) },
    ...{ text: string(msg), time: number(time) },
  }));
}

/** The list of friends in the answer to a login or to CONTACTS. */
export function readFriends(reply: Message): User[] {
  return objects(reply.friends).map(readUser);
}

/** The list of groups in the answer to a login or to CONTACTS. */
export function readGroups(reply: Message): Group[] {
  return objects(reply.groups).map((group) => {
    const users = objects(group.users).map(readUser);
    const { id, groupname, groupdesc, members } = group;
    return {
      ...{ id: number(id), name: string(groupname), description: string(groupdesc) },
      ...{ members: number(members, users.length), users },
    };
  });
}

/** A field that should be a number; `otherwise` if it isn't a finite one. */
export function number(value: unknown, fallback = 0): number {
  return typeof value === "number" && Number.isFinite(value) ? value : fallback;
}

/** A field that should be a string; empty if it isn't one. */
export function string(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function readUser({ id, name, state, role }: JsonObject): User {
  return { id: number(id), name: string(name), state: string(state), role: string(role) };
}

type JsonObject = Readonly<Record<string, unknown>>;

function objects(value: unknown): JsonObject[] {
  if (!Array.isArray(value)) return [];
  return value.filter((item): item is JsonObject => typeof item === "object" && item !== null);
}
