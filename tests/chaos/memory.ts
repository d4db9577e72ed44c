/** What a user keeps, however often the connection breaks, and the notes of all that happened to it. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import type { Conversation, Event } from "./history.ts";

/** The conversation of two users. */
export function pairOf(a: number, b: number): Conversation {
  return a < b ? `${a}-${b}` : `${b}-${a}`;
}

/** The conversation of a group. */
export function groupOf(id: number): Conversation {
  return `g${id}`;
}

/** How a user names a conversation to the server. */
export function nameFor(
  user: number,
  conversation: Conversation,
): { readonly id: number } | { readonly groupid: number } {
  if (conversation.startsWith("g")) return { groupid: Number(conversation.slice(1)) };
  const [low, high] = conversation.split("-").map(Number);
  return { id: low === user ? high! : low! };
}

/** A message that the user wants to have sent. */
export interface Outgoing {
  readonly cid: string;
  readonly to: Conversation;
  readonly request: Sent;
}

/** Whom a message is for. */
export type Recipient = { readonly toid: number } | { readonly groupid: number };

/** One user's memory. */
export class Memory {
  readonly name: string;
  /** 0 before the first login. */
  id = 0;
  /** By which the user can come back without a password. */
  token: string | undefined;
  /** How many logins there were. */
  sessions = 0;
  /** What happened, in its order. */
  readonly events: Event[] = [];
  /** What has no errno 0 yet, in the order in which the user said it. */
  readonly unanswered = new Set<Outgoing>();
  /** The user's friends, and whether they are online, as the server has told. */
  readonly friends = new Map<number, boolean>();
  /** Groups whose member the user surely is. */
  readonly groups = new Set<number>();
  readonly #clock: () => number;
  readonly #shown = new Map<Conversation, number>(); // the last seq that the user was shown
  readonly #confirmed = new Map<Conversation, number>(); // up to which the server has surely been told
  readonly #joining = new Set<number>();
  readonly #own = new Map<Conversation, number>(); // the last seq among the user's own messages
  #said = 0;

  /** `clock` tells the milliseconds since the run began. */
  constructor(name: string, clock: () => number) {
    this.name = name;
    this.#clock = clock;
  }

  /** The user wants to say something. */
  say(to: Recipient, text: string): void {
    const cid = `${this.name}-${++this.#said}`;
    const body = `${cid} ${text}`;
    const isPair = "toid" in to;
    const conversation = isPair ? pairOf(this.id, to.toid) : groupOf(to.groupid);
    const msgid = isPair ? Msg.ONE_CHAT : Msg.GROUP_CHAT;
    this.unanswered.add({ cid, to: conversation, request: { msgid, ...to, msg: body, cid } });
    this.events.push({ kind: "sent", at: this.#clock(), cid, to: conversation, body });
  }

  /** The server has said errno 0, perhaps again. */
  acked(message: Outgoing, seq: number): void {
    const { cid, to } = message;
    this.unanswered.delete(message);
    raise(this.#own, to, seq);
    this.events.push({ kind: "acked", at: this.#clock(), cid, to, seq });
  }

  /** The user has logged in once more. Gives the session's number. */
  entered(): number {
    this.events.push({ kind: "entered", at: this.#clock(), session: ++this.sessions });
    return this.sessions;
  }

  /** A chat message came on a session. */
  pushed(session: number, message: Received): void {
    const { id: sender = 0, seq = 0, cid = "", msg: body = "", groupid } = message;
    const conversation = groupid === undefined ? pairOf(this.id, sender) : groupOf(groupid);
    const what = { at: this.#clock(), in: conversation, seq, sender, cid, body };
    this.events.push({ kind: "pushed", session, ...what });
    if (raise(this.#shown, conversation, seq)) this.events.push({ kind: "shown", ...what });
    // A repeat: the server seems not to know how far the user is, and has to be told again.
    if (seq <= (this.#confirmed.get(conversation) ?? 0)) this.#confirmed.set(conversation, seq - 1);
  }

  /** The user asks to become a member, for the first time or again. */
  joining(group: number): void {
    if (this.#joining.has(group)) return;
    this.#joining.add(group);
    this.events.push({ kind: "joining", at: this.#clock(), group: groupOf(group) });
  }

  /** Groups that the user has asked to join, with no answer so far. */
  get unjoined(): number[] {
    return [...this.#joining].filter((group) => !this.groups.has(group));
  }

  /** The user is a member now. */
  joined(group: number): void {
    if (this.groups.has(group)) return;
    this.groups.add(group);
    this.events.push({ kind: "joined", at: this.#clock(), group: groupOf(group) });
  }

  /** Conversations with messages that the server may not know to be delivered, and up to where they are. */
  undelivered(): [Conversation, seq: number][] {
    return [...this.#shown].filter(([conversation, seq]) => (this.#confirmed.get(conversation) ?? 0) < seq);
  }

  /** The server has surely taken a DELIVERED. */
  delivered(conversation: Conversation, seq: number): void {
    raise(this.#confirmed, conversation, seq);
    this.events.push({ kind: "delivered", at: this.#clock(), in: conversation, seq });
  }

  /** Up to which seq the user has a conversation: shown or, for its own messages, acknowledged. */
  has(conversation: Conversation): number {
    return Math.max(this.#shown.get(conversation) ?? 0, this.#own.get(conversation) ?? 0);
  }

  /** What the server tells of all friends at once, in the answer to a login or to CONTACTS. */
  told(friends: Received["friends"]): void {
    this.friends.clear();
    for (const { id, state } of friends ?? []) this.friends.set(id, state === "online");
  }

  /** Notes who of the friends is there, as far as the user has been told. */
  sees(): void {
    const [online, offline] = [true, false].map((there) =>
      [...this.friends].filter(([, state]) => state === there).map(([id]) => id)
    );
    this.events.push({ kind: "friends", online: online!, offline: offline! });
  }
}

/** Whether that is more than there was. */
function raise(seqs: Map<Conversation, number>, conversation: Conversation, seq: number): boolean {
  if (seq <= (seqs.get(conversation) ?? 0)) return false;
  seqs.set(conversation, seq);
  return true;
}
