/**
 * The messages that a session has still to be pushed. They are read from the store page by page, and merged:
 * within a conversation in seq order, between conversations the oldest message first.
 */
import type { Page, Peer, StoredMessage } from "../../store/store.ts";
import type { ConversationState } from "./conversation_state.ts";

/** Reads a page: the store's `read` for one user. */
export type ReadPage = (
  peer: Peer,
  after: number | undefined,
  limit: number,
  maxBytes: number,
) => Promise<Page>;

/** A message of a backlog, with its conversation. */
export interface BacklogEntry {
  readonly conversation: ConversationState;
  readonly message: StoredMessage;
}

/** A conversation with messages to push, and the page of them that is in memory. */
interface Stream {
  readonly conversation: ConversationState;
  /**
   * The time of the next message. While it is unknown it is before all others, so that the page is read
   * first.
   */
  headTime: number;
  page: readonly StoredMessage[];
  index: number; // of the next message in page
}

const NO_STREAMS = new Map<ConversationState, Stream>(); // stays empty
const UNKNOWN_TIME = -Infinity;
/** Conversations with a page in memory. Of the others only the time of the next message is in memory. */
const MAX_OPEN_PAGES = 32;
/** Messages per page. */
const MAX_PAGE_MESSAGES = 256;
/**
 * Bytes of message text in all pages of a session. A page has at least one message, however long. A
 * sender may have as many bytes in flight. With 64 KiB, a session that was behind a busy sender with two
 * messages of 50 KB in flight never caught up: the store reads one page per commit.
 */
const MAX_OPEN_PAGES_BYTES = 262_144;

/** The conversations of a session that have messages to push. */
export class Backlog {
  readonly #read: ReadPage;
  #streams: Map<ConversationState, Stream> = NO_STREAMS; // most sessions never need a map of their own
  #openPages = 0; // the number of streams with a page

  constructor(read: ReadPage) {
    this.#read = read;
  }

  get isEmpty(): boolean {
    return this.#streams.size === 0;
  }

  has(conversation: ConversationState): boolean {
    return this.#streams.has(conversation);
  }

  /** Returns whether a page of the conversation is in memory. Its next message is on that page. */
  hasPage(conversation: ConversationState): boolean {
    return (this.#streams.get(conversation)?.page.length ?? 0) > 0;
  }

  /** Adds a conversation. `since` is the time of the first message to push, if it is known. */
  add(conversation: ConversationState, since: number = UNKNOWN_TIME): void {
    if (this.#streams === NO_STREAMS) this.#streams = new Map();
    if (!this.has(conversation)) {
      this.#streams.set(conversation, { conversation, headTime: since, page: [], index: 0 });
    }
  }

  /** Removes a conversation. */
  remove(conversation: ConversationState): void {
    const stream = this.#streams.get(conversation);
    if (stream) this.#dropPage(stream);
    this.#streams.delete(conversation);
  }

  /** Drops all pages from memory but that of the next message. They are read again when they are needed. */
  dropLaterPages(): void {
    const next = this.#nextStream();
    for (const stream of this.#streams.values()) {
      if (stream !== next) this.#dropPage(stream);
    }
  }

  /**
   * Returns the next message, which stays the next one until {@link Backlog.shift}, or undefined if the
   * backlog is empty. Rejects as the store does, and may then be called again.
   */
  async peek(): Promise<BacklogEntry | undefined> {
    for (;;) {
      const next = this.#nextStream();
      if (!next) return undefined;
      const message = next.page[next.index];
      if (message) return { conversation: next.conversation, message };
      await this.#loadPage(next);
    }
  }

  /** Advances past the message that {@link Backlog.peek} has returned. */
  shift({ conversation, message }: BacklogEntry): void {
    conversation.lastPushedSeq = message.seq;
    // the message may have been committed after the page was requested, and its hint may be lost
    if (message.seq > conversation.lastKnownSeq) conversation.lastKnownSeq = message.seq;
    const stream = this.#streams.get(conversation);
    if (!stream) return; // removed meanwhile
    const next = stream.page[++stream.index];
    if (next) stream.headTime = next.time;
    else if (conversation.lastPushedSeq >= conversation.lastKnownSeq) this.remove(conversation);
    else {
      this.#dropPage(stream);
      stream.headTime = UNKNOWN_TIME;
    }
  }

  #nextStream(): Stream | undefined {
    let next: Stream | undefined;
    for (const stream of this.#streams.values()) {
      if (!next || stream.headTime < next.headTime) next = stream;
    }
    return next;
  }

  async #loadPage(stream: Stream): Promise<void> {
    const { conversation } = stream;
    const { lastKnownSeq } = conversation;
    const maxBytes = Math.floor(MAX_OPEN_PAGES_BYTES / Math.min(MAX_OPEN_PAGES, this.#streams.size));
    const page = await this.#read(conversation.peer, conversation.lastPushedSeq, MAX_PAGE_MESSAGES, maxBytes);
    if (conversation.lastPushedSeq === undefined) {
      conversation.cursor = conversation.lastPushedSeq = page.after;
    }
    if (this.#streams.get(conversation) !== stream) return; // removed meanwhile
    // earlier messages were pushed while the page was read
    const messages = page.messages.filter(({ seq }) => seq > conversation.lastPushedSeq!);
    const [first] = messages;
    if (first) {
      stream.page = messages;
      stream.headTime = first.time;
      if (++this.#openPages > MAX_OPEN_PAGES) this.#dropLastPage();
    } else if (page.messages.length === 0 && conversation.lastKnownSeq === lastKnownSeq) {
      // The store has no more messages, and none was announced since the page was requested.
      conversation.lastKnownSeq = conversation.lastPushedSeq;
      this.remove(conversation);
    }
  }

  /**
   * Drops the page that will be needed last. Of equal times that is the last one, as {@link Backlog.peek} takes
   * the first. Otherwise a page could be dropped each time that it was read.
   */
  #dropLastPage(): void {
    let last: Stream | undefined;
    for (const stream of this.#streams.values()) {
      if (stream.page.length > 0 && (!last || stream.headTime >= last.headTime)) last = stream;
    }
    this.#dropPage(last!);
  }

  #dropPage(stream: Stream): void {
    if (stream.page.length > 0) this.#openPages--;
    stream.page = [];
    stream.index = 0;
  }
}
