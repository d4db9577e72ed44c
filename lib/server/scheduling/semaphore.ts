/**
 * Work of which only so much is under way at a time. When thousands log in at once, those who came first are
 * in soon and the others wait for them: were all served alike, none would be in before the last, and all too
 * late.
 */
export class Semaphore {
  readonly #max: number;
  readonly #waiters: (() => void)[] = []; // for a turn to begin something
  readonly #firstWaiters: (() => void)[] = []; // for a turn to end it: they go first
  #running = 0;

  /** At most `most` pieces of work are under way. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Begins something when it is its turn: the first to come is the first. Gives what `work` gives. */
  run<T>(work: () => Promise<T>): Promise<T> {
    return this.#runFrom(this.#waiters, work);
  }

  /** Ends what was begun, when it is its turn: before all that hasn't begun. Gives what `work` gives. */
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
      if (next) next(); // this turn is its
      else this.#running--;
    }
  }
}
