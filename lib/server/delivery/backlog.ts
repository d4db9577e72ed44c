/**
 * What a session has yet to be pushed of its conversations, read from the store page by page and merged: each
 * conversation in seq order, and between conversations the oldest message first.
 */
import type { Page, Peer, StoredMessage } from "../../store/store.ts";
import type { Talk } from "./conversation_state.ts";

/** Reads a page; the store's `read` for one user. */
export type ReadPage = (
  peer: Peer,
  after: number | undefined,
  limit: number,
  maxBytes: number,
) => Promise<Page>;

/** The next message of a backlog, and where it belongs. */
export interface Missed {
  readonly talk: Talk;
  readonly message: StoredMessage;
}

/** A conversation that is behind. */
interface Stream {
  readonly talk: Talk;
  /**
   * The time of its next message; before all others where that isn't known, so that it is looked at first.
   */
  head: number;
  page: readonly StoredMessage[];
  at: number; // in page
}

const NONE = new Map<Talk, Stream>(); // stays empty
const UNKNOWN = -Infinity;
// conversations with a page in memory; of others only the time of their next message is known
const WIDTH = 32;
const PAGE_MESSAGES = 256; // messages read at once from one conversation
// bytes of bodies held at once, shared by the pages (each has one message at least)
const PAGES_BYTES = 65_536;

/** The conversations in which a session is behind the log. */
export class Backlog {
  readonly #read: ReadPage;
  #streams: Map<Talk, Stream> = NONE; // replaced with the first: thousands of sessions have none
  #pages = 0; // how many streams have one

  constructor(read: ReadPage) {
    this.#read = read;
  }

  get empty(): boolean {
    return this.#streams.size === 0;
  }

  has(talk: Talk): boolean {
    return this.#streams.has(talk);
  }

  /** Whether it is in there with messages that have been read: the next of it to push is one of these. */
  hasRead(talk: Talk): boolean {
    return (this.#streams.get(talk)?.page.length ?? 0) > 0;
  }

  /** Adds a conversation. `since` is the time of the first message to push, where it is known. */
  add(talk: Talk, since: number = UNKNOWN): void {
    if (this.#streams === NONE) this.#streams = new Map();
    if (!this.has(talk)) this.#streams.set(talk, { talk, head: since, page: [], at: 0 });
  }

  /** Takes a conversation out. */
  drop(talk: Talk): void {
    const stream = this.#streams.get(talk);
    if (stream) this.#forget(stream);
    this.#streams.delete(talk);
  }

  /** Forgets pages that were read ahead; they are read again when they are wanted. */
  rest(): void {
    for (const stream of this.#streams.values()) this.#forget(stream);
  }

  /**
   * The next message, which stays the next one until {@link Backlog.shift}; undefined when no conversation is
   * behind any more. Rejects as the store does, and may then be called again.
   */
  async peek(): Promise<Missed | undefined> {
    for (;;) {
      let first: Stream | undefined;
      for (const stream of this.#streams.values()) {
        if (!first || stream.head < first.head) first = stream;
      }
      if (!first) return undefined;
      const message = first.page[first.at];
      if (message) return { talk: first.talk, message };
      await this.#fill(first);
    }
  }

  /** Goes past the message that {@link Backlog.peek} gave. */
  shift({ talk, message }: Missed): void {
    talk.pushed = message.seq;
    // newer than the page's reason, and its hint may be lost
    if (message.seq > talk.known) talk.known = message.seq;
    const stream = this.#streams.get(talk);
    if (!stream) return; // it was taken out meanwhile
    const next = stream.page[++stream.at];
    if (next) stream.head = next.time;
    else if (talk.pushed >= talk.known) this.drop(talk);
    else {
      this.#forget(stream);
      stream.head = UNKNOWN;
    }
  }

  async #fill(stream: Stream): Promise<void> {
    const { talk } = stream;
    const { known } = talk;
    const bytes = Math.floor(PAGES_BYTES / Math.min(WIDTH, this.#streams.size));
    const page = await this.#read(talk.peer, talk.pushed, PAGE_MESSAGES, bytes);
    if (talk.pushed === undefined) talk.cursor = talk.pushed = page.after;
    if (this.#streams.get(talk) !== stream) return; // it was taken out meanwhile
    // those before were pushed meanwhile
    const messages = page.messages.filter(({ seq }) => seq > talk.pushed!);
    const [first] = messages;
    if (first) {
      stream.page = messages;
      stream.head = first.time;
      if (++this.#pages > WIDTH) this.#forgetLast();
    } else if (page.messages.length === 0 && talk.known === known) {
      // What the store doesn't have isn't there, unless we were told of it only after we had asked.
      talk.known = talk.pushed;
      this.drop(talk);
    }
  }

  /** Lets go of the page that will be wanted last. */
  #forgetLast(): void {
    let last: Stream | undefined;
    for (const stream of this.#streams.values()) {
      if (stream.page.length > 0 && (!last || stream.head > last.head)) last = stream;
    }
    this.#forget(last!);
  }

  #forget(stream: Stream): void {
    if (stream.page.length > 0) this.#pages--;
    stream.page = [];
    stream.at = 0;
  }
}
