/**
 * Reads the fields of the server's messages. Each field is checked here, so that the rest of the client can
 * rely on its type, also with a server of another version.
 */
import type { Message } from "../wire/message.ts";
import { Errno, Msg } from "../wire/protocol.ts";

/** A conversation of the user: the other user's id, or minus a group's id. */
export type Peer = number;

/** A chat message: a pushed one, or one of a conversation's history. */
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

/** A user in the server's lists. */
export interface User {
  readonly id: number;
  readonly name: string;
  readonly state: string;
  /** In a group: `creator` or `normal`. */
  readonly role: string;
}

/** A group of the user. */
export interface Group {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  /** The number of members. `users` contains the first of them. */
  readonly members: number;
  readonly users: readonly User[];
}

/** The server's rejection of a request. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";

  constructor(
    /** The error number of the protocol. */
    readonly errno: number,
    message: string,
  ) {
    super(message);
  }
}

/** Returns a reply's errno. A reply without one is a success. */
export function errnoOf(reply: Message): number {
  return number(reply.errno);
}

/** Returns whether the request of this reply, or of this rejection, may succeed later. */
export function isRetryable({ errno }: Message | RefusedError): boolean {
  return errno === Errno.RATE_LIMITED || errno === Errno.UNAVAILABLE;
}

const MIN_RETRY_MS = 20; // prevents a busy loop with a server that sends 0
const MAX_RETRY_MS = 60_000; // bounds the effect of an excessive value
const DEFAULT_RETRY_MS = 1_000; // for a message without retry_after

/** Returns the time in milliseconds that the client must wait after a reply or a notice. */
export function retryAfterMs(message: Message): number {
  const asked = number(message.retry_after, DEFAULT_RETRY_MS);
  return Math.min(Math.max(asked, MIN_RETRY_MS), MAX_RETRY_MS);
}

/** Returns the error of a rejecting reply. */
export function toRefusedError(reply: Message): RefusedError {
  const errno = errnoOf(reply);
  return new RefusedError(errno, errorText(reply) || `the server replied with errno ${errno}`);
}

/** Returns the server's text about an error, or the reason of a notice. */
export function errorText(message: Message): string {
  return string(message.errmsg);
}

/** Returns whether the message is a reply to a request. */
export function isReply({ msgid }: Message): boolean {
  return REPLIES.has(msgid);
}
const REPLIES = new Set<number>([
  ...[Msg.LOGIN_ACK, Msg.REGISTER_ACK, Msg.ACK, Msg.HISTORY_ACK, Msg.CONTACTS_ACK, Msg.MEMBERS_ACK],
]);

/** Returns the chat message in a message to the user `ownId`, or undefined if it is none or lacks a field. */
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

/** Returns the messages in a reply to HISTORY about `peer`, oldest first. */
export function readHistory(reply: Message, peer: Peer): ChatMessage[] {
  return objects(reply.messages).map(({ seq, id, name, msg, time }) => ({
    ...{ peer, seq: number(seq), id: number(id), name: string(name) },
    ...{ text: string(msg), time: number(time) },
  }));
}

/** Returns the list of friends in the reply to a login or to CONTACTS. */
export function readFriends(reply: Message): User[] {
  return objects(reply.friends).map(readUser);
}

/** Returns the list of groups in the reply to a login or to CONTACTS. */
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

/** Returns a field's number, or `fallback` if the field is not a finite number. */
export function number(value: unknown, fallback = 0): number {
  return typeof value === "number" && Number.isFinite(value) ? value : fallback;
}

/** Returns a field's text, or an empty one if the field is not a string. */
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
