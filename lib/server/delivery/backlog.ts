/**
 * What a session has yet to be pushed of its conversations, read from the store page by page and merged: each
 * conversation in seq order, and between conversations the oldest message first.
 */
import type { Page, Peer, StoredMessage } from "../../store/store.ts";
import type { ConversationState } from "./conversation_state.ts";

/** Reads a page; the store's `read` for one user. */
export type ReadPage = (
  peer: Peer,
  after: number | undefined,
  limit: number,
  maxBytes: number,
) => Promise<Page>;

/** The next message of a backlog, and where it belongs. */
export interface BacklogEntry {
  readonly conversation: ConversationState;
  readonly message: StoredMessage;
}

/** A conversation that is behind. */
interface Stream {
  readonly conversation: ConversationState;
  /**
   * The time of its next message; before all others where that isn't known, so that it is looked at first.
   */
  headTime: number;
  page: readonly StoredMessage[];
  index: number; // in page
}

const NO_STREAMS = new Map<ConversationState, Stream>(); // stays empty
const UNKNOWN_TIME = -Infinity;
// conversations with a page in memory; of others only the time of their next message is known
const MAX_OPEN_PAGES = 32;
const MAX_PAGE_MESSAGES = 256; // messages read at once from one conversation
// bytes of bodies held at once, shared by the pages (each has one message at least)
const MAX_OPEN_PAGES_BYTES = 65_536;

/** The conversations in which a session is behind the log. */
export class Backlog {
  readonly #read: ReadPage;
  #streams: Map<ConversationState, Stream> = NO_STREAMS; // replaced with the first: thousands of sessions have none
  #openPages = 0; // how many streams have one

  constructor(read: ReadPage) {
    this.#read = read;
  }

  get isEmpty(): boolean {
    return this.#streams.size === 0;
  }

  has(conversation: ConversationState): boolean {
    return this.#streams.has(conversation);
  }

  /** Whether it is in there with messages that have been read: the next of it to push is one of these. */
  hasPage(conversation: ConversationState): boolean {
    return (this.#streams.get(conversation)?.page.length ?? 0) > 0;
  }

  /** Adds a conversation. `since` is the time of the first message to push, where it is known. */
  add(conversation: ConversationState, since: number = UNKNOWN_TIME): void {
    if (this.#streams === NO_STREAMS) this.#streams = new Map();
    if (!this.has(conversation)) {
      this.#streams.set(conversation, { conversation, headTime: since, page: [], index: 0 });
    }
  }

  /** Takes a conversation out. */
  remove(conversation: ConversationState): void {
    const stream = this.#streams.get(conversation);
    if (stream) this.#dropPage(stream);
    this.#streams.delete(conversation);
  }

  /** Forgets pages that were read ahead; they are read again when they are wanted. */
  dropPages(): void {
    for (const stream of this.#streams.values()) this.#dropPage(stream);
  }

  /**
   * The next message, which stays the next one until {@link Backlog.shift}; undefined when no conversation is
   * behind any more. Rejects as the store does, and may then be called again.
   */
  async peek(): Promise<BacklogEntry | undefined> {
    for (;;) {
      let first: Stream | undefined;
      for (const stream of this.#streams.values()) {
        if (!first || stream.headTime < first.headTime) first = stream;
      }
      if (!first) return undefined;
      const message = first.page[first.index];
      if (message) return { conversation: first.conversation, message };
      await this.#loadPage(first);
    }
  }

  /** Goes past the message that {@link Backlog.peek} gave. */
  shift({ conversation, message }: BacklogEntry): void {
    conversation.lastPushedSeq = message.seq;
    // newer than the page's reason, and its hint may be lost
    if (message.seq > conversation.lastKnownSeq) conversation.lastKnownSeq = message.seq;
    const stream = this.#streams.get(conversation);
    if (!stream) return; // it was taken out meanwhile
    const next = stream.page[++stream.index];
    if (next) stream.headTime = next.time;
    else if (conversation.lastPushedSeq >= conversation.lastKnownSeq) this.remove(conversation);
    else {
      this.#dropPage(stream);
      stream.headTime = UNKNOWN_TIME;
    }
  }

  async #loadPage(stream: Stream): Promise<void> {
    const { conversation } = stream;
    const { lastKnownSeq } = conversation;
    const maxBytes = Math.floor(MAX_OPEN_PAGES_BYTES / Math.min(MAX_OPEN_PAGES, this.#streams.size));
    const page = await this.#read(conversation.peer, conversation.lastPushedSeq, MAX_PAGE_MESSAGES, maxBytes);
    if (conversation.lastPushedSeq === undefined) {
      conversation.cursor = conversation.lastPushedSeq = page.after;
    }
    if (this.#streams.get(conversation) !== stream) return; // it was taken out meanwhile
    // those before were pushed meanwhile
    const messages = page.messages.filter(({ seq }) => seq > conversation.lastPushedSeq!);
    const [first] = messages;
    if (first) {
      stream.page = messages;
      stream.headTime = first.time;
      if (++this.#openPages > MAX_OPEN_PAGES) this.#dropLastPage();
    } else if (page.messages.length === 0 && conversation.lastKnownSeq === lastKnownSeq) {
      // What the store doesn't have isn't there, unless we were told of it only after we had asked.
      conversation.lastKnownSeq = conversation.lastPushedSeq;
      this.remove(conversation);
    }
  }

  /** Lets go of the page that will be wanted last. */
  #dropLastPage(): void {
    let last: Stream | undefined;
    for (const stream of this.#streams.values()) {
      if (stream.page.length > 0 && (!last || stream.headTime > last.headTime)) last = stream;
    }
    this.#dropPage(last!);
  }

  #dropPage(stream: Stream): void {
    if (stream.page.length > 0) this.#openPages--;
    stream.page = [];
    stream.index = 0;
  }
}
