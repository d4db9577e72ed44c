/** Work that has to be done in order, as far as it is about the same thing. */
import { StoreUnavailableError } from "../store.ts";

/** Pieces of work that may wait before further ones are turned away: far more than a node has clients for. */
const MAX_WAITING = 100_000;

/** A queue for each key that there is work for. */
export class KeyedQueue {
  readonly #tails = new Map<string, Promise<unknown>>();
  #waitingCount = 0;

  /**
   * Does some work when all that was asked for before with the same key is done. Gives its result; rejects as it does,
   * or with {@link StoreUnavailableError} if too much waits already.
   */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    if (this.#waitingCount >= MAX_WAITING) {
      throw new StoreUnavailableError(`${MAX_WAITING} changes are waiting for the database`);
    }
    this.#waitingCount++;
    const previous = this.#tails.get(key);
    const done = previous ? previous.then(work, work) : work();
    this.#tails.set(key, done);
    try {
      return await done;
    } finally {
      this.#waitingCount--;
      if (this.#tails.get(key) === done) this.#tails.delete(key);
    }
  }
}
