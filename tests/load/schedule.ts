/** Due times at a fixed rate, independent of the replies. */

/** A sequence of due times. It begins at its construction and lasts until it is stopped. */
export class Schedule {
  readonly #every: number;
  readonly #work: (due: number) => void;
  #due: number;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Calls `work` with each due time: `first`, by performance.now, and then every `every` milliseconds. */
  constructor(first: number, every: number, work: (due: number) => void) {
    this.#due = first;
    this.#every = every;
    this.#work = work;
    this.#wait();
  }

  /** Ends the sequence. */
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
