/** Keeps a connection's replies in the order of its requests, although some take longer than others. */

interface Slot<T> {
  done: boolean;
  reply: T | undefined;
}

/** A queue of replies that are still being worked on. */
export class Replies<T> {
  readonly #send: (reply: T) => void;
  #slots: Slot<T>[] = [];
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  /** `send` is called with each reply, in the order in which they were added. */
  constructor(send: (reply: T) => void) {
    this.#send = send;
  }

  /** How many requests have no reply yet. */
  get pending(): number {
    return this.#slots.length;
  }

  /** Adds a reply, or the promise of one, which must not be rejected; undefined is no reply. */
  add(reply: T | undefined | Promise<T | undefined>): void {
    if (!(reply instanceof Promise)) {
      if (this.#slots.length > 0) this.#slots.push({ done: true, reply });
      else if (reply !== undefined) this.#send(reply);
      return;
    }
    const slot: Slot<T> = { done: false, reply: undefined };
    this.#slots.push(slot);
    reply.then((value) => {
      slot.done = true;
      slot.reply = value;
      if (this.#slots[0] === slot) this.#advance();
    });
  }

  /** Resolves when at most `count` requests have no reply yet. */
  whenAtMost(count: number): Promise<void> {
    if (this.#slots.length <= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ count, resolve }));
  }

  #advance(): void {
    let done = 0;
    for (const slot of this.#slots) {
      if (!slot.done) break;
      done++;
      if (slot.reply !== undefined) this.#send(slot.reply);
    }
    this.#slots.splice(0, done);
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter(({ count }) => this.#slots.length <= count);
    this.#waiting = this.#waiting.filter(({ count }) => this.#slots.length > count);
    for (const { resolve } of ready) resolve();
  }
}
