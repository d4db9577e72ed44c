/** Bounds how much work of one kind is in progress. The rest waits, first come, first served. */
export class Semaphore {
  readonly #max: number;
  readonly #waiters: (() => void)[] = [];
  readonly #firstWaiters: (() => void)[] = []; // these go before all others
  #running = 0;

  /** At most `max` items are in progress. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Runs `work` after all items that wait already. Returns the result of `work`. */
  run<T>(work: () => Promise<T>): Promise<T> {
    return this.#runFrom(this.#waiters, work);
  }

  /** Runs the last part of some work, before all that has not started. Returns the result of `work`. */
  runFirst<T>(work: () => Promise<T>): Promise<T> {
    return this.#runFrom(this.#firstWaiters, work);
  }

  async #runFrom<T>(queue: (() => void)[], work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#max) this.#running++;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#firstWaiters.shift() ?? this.#waiters.shift();
      if (next) next(); // it takes this one's place
      else this.#running--;
    }
  }
}
