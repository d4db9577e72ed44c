/** A queue of received messages that no call has taken. */
import { TIMEOUT_MS } from "./wait.ts";

interface Waiter<T> {
  readonly match: (item: T) => boolean;
  readonly resolve: (item: T) => void;
  readonly reject: (error: Error) => void;
}

const MAX_SHOWN_ITEMS = 5; // items of the queue that an error shows, enough to recognise unexpected messages
const MAX_SHOWN_CHARACTERS = 300; // characters of each item in an error

/** A queue from which callers take the first matching item. */
export class Inbox<T> {
  #items: T[] = [];
  #waiters: Waiter<T>[] = [];
  #ended: string | undefined;

  /** The items that no call has taken, oldest first. */
  get waiting(): readonly T[] {
    return this.#items;
  }

  /** Takes all received messages. */
  drain(): T[] {
    return this.#items.splice(0);
  }

  /** Passes an item to the caller that waits for it, or appends it to the queue. */
  put(item: T): void {
    const at = this.#waiters.findIndex((waiter) => waiter.match(item));
    if (at < 0) this.#items.push(item);
    else this.#waiters.splice(at, 1)[0]!.resolve(item);
  }

  /** Ends the queue: waiting callers are rejected with the reason. */
  end(reason: string): void {
    this.#ended ??= reason;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(new Error(this.#ended));
  }

  /**
   * Takes the first item that matches, and waits for it for at most `ms` milliseconds. Otherwise rejects with
   * an error that names `what` and shows the items in the queue.
   */
  async next(match: (item: T) => boolean, what: string, ms = TIMEOUT_MS): Promise<T> {
    const at = this.#items.findIndex(match);
    if (at >= 0) return this.#items.splice(at, 1)[0]!;
    if (this.#ended !== undefined) throw this.#timeoutError(what, this.#ended);
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        const waiter = { match, resolve, reject: (e: Error) => reject(this.#timeoutError(what, e.message)) };
        this.#waiters.push(waiter);
        timer = setTimeout(() => {
          this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
          reject(this.#timeoutError(what, `${ms} ms passed`));
        }, ms);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #timeoutError(what: string, reason: string): Error {
    const last = this.#items.slice(-MAX_SHOWN_ITEMS).map((item) =>
      JSON.stringify(item).slice(0, MAX_SHOWN_CHARACTERS)
    );
    return new Error(`waited for ${what}: ${reason}; ${this.#items.length} other messages: ${last}`);
  }
}
