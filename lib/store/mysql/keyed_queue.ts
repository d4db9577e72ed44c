/** Work that has to be done in order, as far as it is about the same thing. */
import { StoreUnavailable } from "../store.ts";

/** Pieces of work that may wait before further ones are turned away: far more than a node has clients for. */
const MAX_WAITING = 100_000;

/** A queue for each key that there is work for. */
export class Keyed {
  readonly #last = new Map<string, Promise<unknown>>();
  #waiting = 0;

  /**
   * Does some work when all that was asked for before with the same key is done. Gives its result; rejects as it does,
   * or with {@link StoreUnavailable} if too much waits already.
   */
  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) {
      throw new StoreUnavailable(`${MAX_WAITING} changes are waiting for the database`);
    }
    this.#waiting++;
    const before = this.#last.get(key);
    const done = before ? before.then(work, work) : work();
    this.#last.set(key, done);
    try {
      return await done;
    } finally {
      this.#waiting--;
      if (this.#last.get(key) === done) this.#last.delete(key);
    }
  }
}
