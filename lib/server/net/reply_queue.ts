/** Keeps a connection's replies in the order of its requests, although some take longer than others. */

interface Slot<T> {
  readonly bytes: number;
  done: boolean;
  reply: T | undefined;
}

interface Waiting {
  readonly count: number;
  readonly bytes: number;
  readonly resolve: () => void;
}

/** A queue of replies that are still being worked on. */
export class Replies<T> {
  readonly #send: (reply: T) => void;
  #slots: Slot<T>[] = [];
  #bytes = 0;
  #waiting: Waiting[] = [];
  #closed = false;

  /** `send` is called with each reply, in the order in which they were added. */
  constructor(send: (reply: T) => void) {
    this.#send = send;
  }

  /** How many requests have no reply yet. */
  get pending(): number {
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
      if (this.#slots.length > 0) this.#slots.push({ bytes: 0, done: true, reply });
      else if (reply !== undefined) this.#send(reply);
      return;
    }
    const slot: Slot<T> = { bytes, done: false, reply: undefined };
    this.#slots.push(slot);
    this.#bytes += bytes;
    reply.then((value) => {
      slot.done = true;
      slot.reply = value;
      if (this.#slots[0] === slot) this.#advance();
    });
  }

  /**
   * Resolves when at most `count` requests of at most `bytes` bytes have no reply yet, or the replies are not
   * wanted any more.
   */
  whenAtMost(count: number, bytes = Infinity): Promise<void> {
    if (this.#isAtMost(count, bytes)) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, bytes, resolve }));
  }

  /** The replies are not wanted any more. */
  close(): void {
    this.#closed = true;
    this.#tell();
  }

  #isAtMost(count: number, bytes: number): boolean {
    return this.#closed || (this.#slots.length <= count && this.#bytes <= bytes);
  }

  #advance(): void {
    let done = 0;
    for (const slot of this.#slots) {
      if (!slot.done) break;
      done++;
      this.#bytes -= slot.bytes;
      if (slot.reply !== undefined) this.#send(slot.reply);
    }
    this.#slots.splice(0, done);
    if (this.#waiting.length > 0) this.#tell();
  }

  #tell(): void {
    const ready = this.#waiting.filter(({ count, bytes }) => this.#isAtMost(count, bytes));
    if (ready.length === 0) return;
    this.#waiting = this.#waiting.filter((one) => !ready.includes(one));
    for (const { resolve } of ready) resolve();
  }
}
