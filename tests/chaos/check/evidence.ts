/** A history with indexes, so that each lookup takes constant time. */
import type { Conversation, Event, History, Logged } from "../history.ts";

/** An event of one kind. */
export type Of<K extends Event["kind"]> = Extract<Event, { readonly kind: K }>;

/** A message that a user was pushed or shown. */
export type Seen = Of<"pushed"> | Of<"shown">;

/** A message from the view of its sender. */
export interface Sending {
  readonly sent: Of<"sent">;
  /** All acknowledgements. */
  readonly acks: Of<"acked">[];
}

/** Messages of a conversation by seq; a missing seq is a gap. */
export type Messages = ReadonlyMap<number, Logged>;

const NONE: Messages = new Map();

/** A history with its indexes. */
export class Evidence {
  readonly history: History;
  /** The log by conversation and seq; the first of two messages with the same seq. */
  readonly conversations: ReadonlyMap<Conversation, Messages>;
  readonly #byCid = new Map<string, Logged>();
  readonly #sendings = new Map<string, Sending>();
  readonly #known = new Map<Logged, number>();
  readonly #last = new Map<Conversation, number>();

  constructor(history: History) {
    this.history = history;
    const conversations = new Map<Conversation, Map<number, Logged>>();
    for (const row of history.log) {
      let messages = conversations.get(row.in);
      if (!messages) conversations.set(row.in, messages = new Map());
      if (!messages.has(row.seq)) messages.set(row.seq, row);
      const id = idOf(row.sender, row.cid);
      if (!this.#byCid.has(id)) this.#byCid.set(id, row);
      this.#last.set(row.in, Math.max(row.seq, this.lastOf(row.in)));
    }
    this.conversations = conversations;
    for (const [user, events] of history.users) {
      for (const event of events) this.#note(user, event);
    }
  }

  /** Returns the messages of a conversation. */
  in(conversation: Conversation): Messages {
    return this.conversations.get(conversation) ?? NONE;
  }

  /** Returns the last seq of a conversation; 0 without a message. */
  lastOf(conversation: Conversation): number {
    return this.#last.get(conversation) ?? 0;
  }

  /** Returns the row of a message in the log. */
  rowOf(sender: number, cid: string): Logged | undefined {
    return this.#byCid.get(idOf(sender, cid));
  }

  /** Returns a message from the view of its sender. */
  sending(sender: number, cid: string): Sending | undefined {
    return this.#sendings.get(idOf(sender, cid));
  }

  /** Returns the time of the first ack or push of a message; Infinity if there was none. */
  knownAt(row: Logged): number {
    return this.#known.get(row) ?? Infinity;
  }

  /** Returns the final members of a conversation. As no user leaves a group, it had no others before. */
  partiesOf(conversation: Conversation): readonly number[] {
    if (conversation.startsWith("g")) return this.history.members.get(conversation) ?? [];
    return conversation.split("-").map(Number);
  }

  #note(user: number, event: Event): void {
    if (event.kind === "sent") {
      const sending = this.sending(user, event.cid) ?? { sent: event, acks: [] };
      this.#sendings.set(idOf(user, event.cid), sending);
    } else if (event.kind === "acked") {
      this.sending(user, event.cid)?.acks.push(event);
      this.#knows(this.rowOf(user, event.cid), event.at);
    } else if (event.kind === "pushed") this.#knows(this.rowOf(event.sender, event.cid), event.at);
  }

  #knows(row: Logged | undefined, at: number): void {
    if (row) this.#known.set(row, Math.min(at, this.knownAt(row)));
  }
}

function idOf(sender: number, cid: string): string {
  return `${sender} ${cid}`;
}
