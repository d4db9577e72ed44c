/** The state of a user that outlives its connections, and the record of its events. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import type { Conversation, Event } from "./history.ts";

/** Returns the conversation of two users. */
export function pairOf(a: number, b: number): Conversation {
  return a < b ? `${a}-${b}` : `${b}-${a}`;
}

/** Returns the conversation of a group. */
export function groupOf(id: number): Conversation {
  return `g${id}`;
}

/** Returns the fields that name a conversation in a request. */
export function nameFor(
  user: number,
  conversation: Conversation,
): { readonly id: number } | { readonly groupid: number } {
  if (conversation.startsWith("g")) return { groupid: Number(conversation.slice(1)) };
  const [low, high] = conversation.split("-").map(Number);
  return { id: low === user ? high! : low! };
}

/** A message to send. */
export interface Outgoing {
  readonly cid: string;
  readonly to: Conversation;
  readonly request: Sent;
}

/** The recipient of a message. */
export type Recipient = { readonly toid: number } | { readonly groupid: number };

/** The memory of one user. */
export class Memory {
  readonly name: string;
  /** The id; 0 before the first login. */
  id = 0;
  /** The token for a login without a password. */
  token: string | undefined;
  /** The number of logins. */
  sessions = 0;
  /** The events in their order. */
  readonly events: Event[] = [];
  /** The unacknowledged messages in their order. */
  readonly unanswered = new Set<Outgoing>();
  /** Whether each friend is online, by the last message of the server. */
  readonly friends = new Map<number, boolean>();
  /** Groups with an acknowledged membership. */
  readonly groups = new Set<number>();
  readonly #clock: () => number;
  readonly #shown = new Map<Conversation, number>(); // the last seq that the user was shown
  readonly #confirmed = new Map<Conversation, number>(); // up to which the server has processed DELIVERED
  readonly #joining = new Set<number>();
  readonly #own = new Map<Conversation, number>(); // the last seq among the user's own messages
  #said = 0;

  /** Makes a memory. `clock` returns the milliseconds since the beginning of the run. */
  constructor(name: string, clock: () => number) {
    this.name = name;
    this.#clock = clock;
  }

  /** Records a message to send. */
  say(to: Recipient, text: string): void {
    const cid = `${this.name}-${++this.#said}`;
    const body = `${cid} ${text}`;
    const isPair = "toid" in to;
    const conversation = isPair ? pairOf(this.id, to.toid) : groupOf(to.groupid);
    const msgid = isPair ? Msg.ONE_CHAT : Msg.GROUP_CHAT;
    this.unanswered.add({ cid, to: conversation, request: { msgid, ...to, msg: body, cid } });
    this.events.push({ kind: "sent", at: this.#clock(), cid, to: conversation, body });
  }

  /** Records an acknowledgement, perhaps a repeated one. */
  acked(message: Outgoing, seq: number): void {
    const { cid, to } = message;
    this.unanswered.delete(message);
    raise(this.#own, to, seq);
    this.events.push({ kind: "acked", at: this.#clock(), cid, to, seq });
  }

  /** Records a login and returns the number of the session. */
  entered(): number {
    this.events.push({ kind: "entered", at: this.#clock(), session: ++this.sessions });
    return this.sessions;
  }

  /** Records a chat message that a session was pushed. */
  pushed(session: number, message: Received): void {
    const { id: sender = 0, seq = 0, cid = "", msg: body = "", groupid } = message;
    const conversation = groupid === undefined ? pairOf(this.id, sender) : groupOf(groupid);
    const what = { at: this.#clock(), in: conversation, seq, sender, cid, body };
    this.events.push({ kind: "pushed", session, ...what });
    if (raise(this.#shown, conversation, seq)) this.events.push({ kind: "shown", ...what });
    // After a repeat DELIVERED is due again, as the server does not seem to have it.
    if (seq <= (this.#confirmed.get(conversation) ?? 0)) this.#confirmed.set(conversation, seq - 1);
  }

  /** Records a request to join, the first or a repeated one. */
  joining(group: number): void {
    if (this.#joining.has(group)) return;
    this.#joining.add(group);
    this.events.push({ kind: "joining", at: this.#clock(), group: groupOf(group) });
  }

  /** Groups with a request to join that has no reply. */
  get unjoined(): number[] {
    return [...this.#joining].filter((group) => !this.groups.has(group));
  }

  /** Records an acknowledged membership. */
  joined(group: number): void {
    if (this.groups.has(group)) return;
    this.groups.add(group);
    this.events.push({ kind: "joined", at: this.#clock(), group: groupOf(group) });
  }

  /** Conversations with messages for which DELIVERED is due, and the last seq of each. */
  undelivered(): [Conversation, seq: number][] {
    return [...this.#shown].filter(([conversation, seq]) => (this.#confirmed.get(conversation) ?? 0) < seq);
  }

  /** Records that the server has processed a DELIVERED. */
  delivered(conversation: Conversation, seq: number): void {
    raise(this.#confirmed, conversation, seq);
    this.events.push({ kind: "delivered", at: this.#clock(), in: conversation, seq });
  }

  /** The last seq of a conversation that was shown or, for own messages, acknowledged. */
  has(conversation: Conversation): number {
    return Math.max(this.#shown.get(conversation) ?? 0, this.#own.get(conversation) ?? 0);
  }

  /** Records the states of all friends from the reply to a login or to CONTACTS. */
  told(friends: Received["friends"]): void {
    this.friends.clear();
    for (const { id, state } of friends ?? []) this.friends.set(id, state === "online");
  }

  /** Records the friends that are online. */
  sees(): void {
    const [online, offline] = [true, false].map((there) =>
      [...this.friends].filter(([, state]) => state === there).map(([id]) => id)
    );
    this.events.push({ kind: "friends", online: online!, offline: offline! });
  }
}

/** Sets a value and returns whether it is greater than before. */
function raise(seqs: Map<Conversation, number>, conversation: Conversation, seq: number): boolean {
  if (seq <= (seqs.get(conversation) ?? 0)) return false;
  seqs.set(conversation, seq);
  return true;
}
