/** Keeps a connection's replies in the order of its requests, although some take longer than others. */

interface Slot<T> {
  readonly bytes: number;
  isDone: boolean;
  reply: T | undefined;
}

interface Waiter {
  readonly count: number;
  readonly bytes: number;
  readonly resolve: () => void;
}

/** A queue of replies that are still being worked on. */
export class ReplyQueue<T> {
  readonly #send: (reply: T) => void;
  #slots: Slot<T>[] = [];
  #bytes = 0;
  #waiters: Waiter[] = [];
  #isClosed = false;

  /** `send` is called with each reply, in the order in which they were added. */
  constructor(send: (reply: T) => void) {
    this.#send = send;
  }

  /** How many requests have no reply yet. */
  get inFlight(): number {
    return this.#slots.length;
  }

  /** Bytes of those requests. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Adds a reply, or the promise of one, which must not be rejected; undefined is no reply. `bytes` is the
   * size of the request that it answers.
   */
  add(reply: T | undefined | Promise<T | undefined>, bytes: number): void {
    if (!(reply instanceof Promise)) {
      if (this.#slots.length > 0) this.#slots.push({ bytes: 0, isDone: true, reply });
      else if (reply !== undefined) this.#send(reply);
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

  /**
   * Resolves when at most `count` requests of at most `bytes` bytes have no reply yet, or the replies are not
   * wanted any more.
   */
  untilAtMost(count: number, bytes = Infinity): Promise<void> {
    if (this.#isAtMost(count, bytes)) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ count, bytes, resolve }));
  }

  /** The replies are not wanted any more. */
  close(): void {
    this.#isClosed = true;
    this.#notify();
  }

  #isAtMost(count: number, bytes: number): boolean {
    return this.#isClosed || (this.#slots.length <= count && this.#bytes <= bytes);
  }

  #advance(): void {
    let done = 0;
    for (const slot of this.#slots) {
      if (!slot.isDone) break;
      done++;
      this.#bytes -= slot.bytes;
      if (slot.reply !== undefined) this.#send(slot.reply);
    }
    this.#slots.splice(0, done);
    if (this.#waiters.length > 0) this.#notify();
  }

  #notify(): void {
    const ready = this.#waiters.filter(({ count, bytes }) => this.#isAtMost(count, bytes));
    if (ready.length === 0) return;
    this.#waiters = this.#waiters.filter((one) => !ready.includes(one));
    for (const { resolve } of ready) resolve();
  }
}
