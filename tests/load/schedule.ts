/** Fixed times at which something is due, whatever became of what was due before. */

/** One row of such times. It begins when it is made and goes on until it is stopped. */
export class Schedule {
  readonly #every: number;
  readonly #work: (due: number) => void;
  #due: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Calls `work` with each time that has come: `first`, by performance.now, and then every `every` milliseconds. */
  constructor(first: number, every: number, work: (due: number) => void) {
    this.#due = first;
    this.#every = every;
    this.#work = work;
    this.#wait();
  }

  /** Nothing is due any more. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #wait(): void {
    this.#timer = setTimeout(() => this.#catchUp(), Math.max(0, this.#due - performance.now()));
  }

  #catchUp(): void {
    for (const now = performance.now(); this.#due <= now; this.#due += this.#every) this.#work(this.#due);
    this.#wait();
  }
}
