/** A FIFO queue for one class of work: bounds its concurrency and its share of the event loop. */
import { sleep } from "../../sleep.ts";
import type { EventLoop } from "./event_loop.ts";

/** How much of a class may run. */
export interface WorkLimits {
  /** Items in progress at the same time. */
  readonly concurrency: number;
  /** Milliseconds in which items may start between two yields. 0: one item. */
  readonly timeSliceMs: number;
}

/** One class of work. */
export interface WorkClass extends WorkLimits {
  /** Milliseconds of pause for each millisecond that {@link WorkQueue.charge} reports. 0: it only yields. */
  readonly pauseRatio: number;
  /** Upper bound of a pause, in milliseconds. */
  readonly maxPauseMs: number;
  /** The limits while the node is idle, which also ends pauses. */
  readonly whileIdle?: WorkLimits & {
    /** The node is idle if the event loop is, and {@link WorkQueue.noteOtherWork} was not called for so long. */
    readonly quietMs: number;
  };
}

const MIN_PAUSE_MS = 1; // a timer cannot wait for less

/** Work of one class, first come, first served. */
export class WorkQueue {
  readonly #eventLoop: Pick<EventLoop, "yieldToIo" | "pollIo">;
  readonly #class: WorkClass;
  readonly #waiting: (() => void)[] = [];
  #active = 0;
  #isDispatching = false;
  #isIdle = false; // at the last poll
  #startsLeft = 0; // in this slice: items that start together are tracked only afterwards
  // by performance.now
  #lastOtherWork = -Infinity;
  #sliceEnd = -Infinity;
  #pausedUntil = -Infinity;
  #lastStart = performance.now();

  constructor(eventLoop: Pick<EventLoop, "yieldToIo" | "pollIo">, workClass: WorkClass) {
    this.#eventLoop = eventLoop;
    this.#class = workClass;
  }

  /** Whether another item may start. */
  get canStart(): boolean {
    return this.#active < this.#limits.concurrency && (this.#isIdle || this.#pauseMs < MIN_PAUSE_MS);
  }

  /** Resolves when the caller may run one item: at once within a time slice in which no other item waits. */
  next(): Promise<void> {
    if (this.#waiting.length === 0 && this.#isInSlice) {
      this.#startsLeft--;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (!this.#isDispatching) void this.#dispatch();
    });
  }

  /** Charges milliseconds of CPU time that an item used without a yield. */
  charge(ms: number): void {
    const { pauseRatio, maxPauseMs } = this.#class;
    const now = performance.now();
    this.#pausedUntil = Math.min(Math.max(this.#pausedUntil, now) + ms * pauseRatio, now + maxPauseMs);
  }

  /** Counts `work` as `weight` items in progress until it settles. */
  async track(work: Promise<unknown>, weight = 1): Promise<void> {
    this.#active += weight;
    await work.catch(() => {}); // the caller handles the error
    this.#active -= weight;
    if (!this.#isDispatching && this.#waiting.length > 0) void this.#dispatch();
  }

  /** Runs `work` when it may start, as `weight` items. Returns the result of `work`. */
  async run<T>(work: () => Promise<T>, weight = 1): Promise<T> {
    await this.next();
    const result = work();
    void this.track(result, weight);
    return await result;
  }

  /** Notes other work that starts at `now` and waits for the store or the bus, as items of this class do. */
  noteOtherWork(now: number): void {
    this.#lastOtherWork = now;
  }

  /** Starts items until none waits, or as many are in progress as may be: `track` goes on then. */
  async #dispatch(): Promise<void> {
    this.#isDispatching = true;
    while (this.#waiting.length > 0) {
      await this.#pause();
      if (this.#active >= this.#limits.concurrency) break;
      this.#sliceEnd = performance.now() + this.#limits.timeSliceMs;
      this.#startsLeft = this.#limits.concurrency - this.#active;
      do {
        this.#startsLeft--;
        this.#lastStart = performance.now();
        this.#waiting.shift()!();
        await undefined; // the item runs until its first await
      } while (this.#waiting.length > 0 && this.#isInSlice);
    }
    this.#isDispatching = false;
  }

  /** Yields once, and until the pause is over or, with `whileIdle`, the node is idle. */
  async #pause(): Promise<void> {
    const { pauseRatio, whileIdle } = this.#class;
    if (pauseRatio === 0 && !whileIdle) return await this.#eventLoop.yieldToIo();
    for (;;) {
      const isLoopIdle = await this.#eventLoop.pollIo();
      this.#isIdle = isLoopIdle && whileIdle !== undefined &&
        performance.now() - this.#lastOtherWork >= whileIdle.quietMs;
      const pauseMs = this.#pauseMs;
      if (this.#isIdle || pauseMs < MIN_PAUSE_MS) return;
      if (isLoopIdle) await sleep(pauseMs); // other polls take a while
    }
  }

  /** Whether an item may start in the current time slice. */
  get #isInSlice(): boolean {
    return this.#startsLeft > 0 && performance.now() < this.#sliceEnd && this.canStart;
  }

  get #limits(): WorkLimits {
    return this.#isIdle ? this.#class.whileIdle! : this.#class;
  }

  get #pauseMs(): number {
    return Math.min(this.#pausedUntil, this.#lastStart + this.#class.maxPauseMs) - performance.now();
  }
}
