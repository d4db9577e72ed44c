/**
 * What a session has yet to be pushed of its conversations, read from the store page by page and merged: each
 * conversation in seq order, and between conversations the oldest message first.
 */
import type { Page, Peer, StoredMessage } from "../store/store.ts";
import type { Talk } from "./talks.ts";

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

interface Stream {
  readonly talk: Talk;
  page: readonly StoredMessage[];
  at: number; // in page
}

const WIDTH = 32; // conversations merged at once; those that wait longest come first, more would only cost memory
const PAGE_MESSAGES = 256; // messages read at once from one conversation
const PAGES_BYTES = 65_536; // bytes of bodies held at once, shared by the streams (each has one message at least)

/** The conversations in which a session is behind the log. */
export class Backlog {
  readonly #read: ReadPage;
  readonly #talks = new Set<Talk>();
  #streams: Stream[] = [];

  constructor(read: ReadPage) {
    this.#read = read;
  }

  get empty(): boolean {
    return this.#talks.size === 0;
  }

  has(talk: Talk): boolean {
    return this.#talks.has(talk);
  }

  add(talk: Talk): void {
    this.#talks.add(talk);
  }

  /** Takes a conversation out. */
  drop(talk: Talk): void {
    this.#talks.delete(talk);
    this.#streams = this.#streams.filter((stream) => stream.talk !== talk);
  }

  /** Forgets pages that were read ahead; they are read again when they are wanted. */
  rest(): void {
    this.#streams = [];
  }

  /**
   * The next message, which stays the next one until {@link Backlog.shift}; undefined when no conversation is
   * behind any more. Rejects as the store does, and may then be called again.
   */
  async peek(): Promise<Missed | undefined> {
    if (!this.#ready()) await this.#fill();
    let first: Stream | undefined;
    for (const stream of this.#streams) {
      if (!first || head(stream).time < head(first).time) first = stream;
    }
    return first && { talk: first.talk, message: head(first) };
  }

  /** Goes past the message that {@link Backlog.peek} gave. */
  shift({ talk, message }: Missed): void {
    const stream = this.#streams.find((stream) => stream.talk === talk)!;
    stream.at++;
    talk.pushed = message.seq;
    this.#settle(stream);
  }

  /** Whether the oldest message can be told: every stream has one at hand, and there are as many as can be. */
  #ready(): boolean {
    return this.#streams.length === Math.min(WIDTH, this.#talks.size) &&
      this.#streams.every((stream) => stream.at < stream.page.length);
  }

  async #fill(): Promise<void> {
    while (!this.#ready()) {
      for (const talk of this.#talks) {
        if (this.#streams.length >= WIDTH) break;
        if (!this.#streams.some((stream) => stream.talk === talk)) {
          this.#streams.push({ talk, page: [], at: 0 });
        }
      }
      const bytes = Math.floor(PAGES_BYTES / this.#streams.length);
      await Promise.all(
        this.#streams.filter((stream) => stream.at >= stream.page.length).map(async (stream) => {
          const { talk } = stream;
          const known = talk.known;
          const page = await this.#read(talk.peer, talk.pushed, PAGE_MESSAGES, bytes);
          if (talk.pushed === undefined) talk.cursor = talk.pushed = page.after;
          stream.page = page.messages;
          stream.at = 0;
          // What the store doesn't have isn't there, unless we were told of it only after we had asked.
          if (page.messages.length === 0 && talk.known === known) talk.known = talk.pushed;
          this.#settle(stream);
        }),
      );
    }
  }

  /** Lets go of a stream whose conversation is not behind any more. */
  #settle(stream: Stream): void {
    if (stream.at < stream.page.length || stream.talk.pushed! < stream.talk.known) return;
    this.#talks.delete(stream.talk);
    this.#streams = this.#streams.filter((other) => other !== stream);
  }
}

function head(stream: Stream): StoredMessage {
  return stream.page[stream.at]!;
}
