/** Sends the replies of a connection in the order of its requests, although some take longer than others. */
import { Waiters } from "./waiters.ts";

interface Slot<T> {
  readonly bytes: number;
  isDone: boolean;
  reply: T | undefined;
}

/** The connection of a reply queue. Not a function: a closure would take 100 bytes of each connection. */
export interface ReplySink<T> {
  /** Called with each reply, in the order in which the requests were added. */
  sendReply(reply: T): void;
}

/** The requests in flight, and the replies that wait for those before them. */
export class ReplyQueue<T> {
  readonly #sink: ReplySink<T>;
  readonly #waiters = new Waiters();
  #slots: Slot<T>[] = [];
  #bytes = 0;
  #isClosed = false;

  constructor(sink: ReplySink<T>) {
    this.#sink = sink;
  }

  /** Number of requests in flight. */
  get inFlight(): number {
    return this.#slots.length;
  }

  /** Bytes of the requests in flight. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Adds a reply, or the promise of one, which must not reject; undefined is no reply. `bytes` is the size of
   * the request.
   */
  add(reply: T | undefined | Promise<T | undefined>, bytes: number): void {
    if (!(reply instanceof Promise)) {
      if (this.#slots.length > 0) this.#slots.push({ bytes: 0, isDone: true, reply });
      else if (reply !== undefined) this.#sink.sendReply(reply);
      return;
    }
    const slot: Slot<T> = { bytes, isDone: false, reply: undefined };
    this.#slots.push(slot);
    this.#bytes += bytes;
    reply.then((value) => {
      slot.isDone = true;
      slot.reply = value;
      if (this.#slots[0] === slot) this.#advance();
    });
  }

  /** Whether at most `count` requests of at most `bytes` bytes are in flight, or the queue is closed. */
  isAtMost(count: number, bytes = Infinity): boolean {
    return this.#isClosed || (this.#slots.length <= count && this.#bytes <= bytes);
  }

  /** Resolves when {@link ReplyQueue.isAtMost} is true. */
  untilAtMost(count: number, bytes = Infinity): Promise<void> {
    return this.#waiters.until(() => this.isAtMost(count, bytes));
  }

  /** Resolves all waiters: the replies are not needed any more. */
  close(): void {
    this.#isClosed = true;
    this.#waiters.notify();
  }

  #advance(): void {
    let done = 0;
    for (const slot of this.#slots) {
      if (!slot.isDone) break;
      done++;
      this.#bytes -= slot.bytes;
      if (slot.reply !== undefined) this.#sink.sendReply(slot.reply);
    }
    this.#slots.splice(0, done);
    this.#waiters.notify();
  }
}
