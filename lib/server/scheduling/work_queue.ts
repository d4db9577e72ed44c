/** A FIFO queue for one class of work: bounds its concurrency and its share of the event loop. */
import { sleep } from "../../sleep.ts";
import type { EventLoop } from "./event_loop.ts";

/** One class of work. Weights are in simple requests, such as small messages. They are whole numbers. */
export interface WorkClass {
  /** The weight of the items in progress at the same time. A heavier item starts when none is. */
  readonly maxWeight: number;
  /** Milliseconds in which items may start between two yields. */
  readonly timeSliceMs: number;
  /** Milliseconds of pause for each millisecond that {@link WorkQueue.charge} reports. 0: it only yields. */
  readonly pauseRatio: number;
  /** Upper bound of a pause, in milliseconds. */
  readonly maxPauseMs: number;
  /**
   * An idle node ends a pause: the event loop is idle, and {@link WorkQueue.noteOtherWork} was not called for
   * so many milliseconds.
   */
  readonly quietMs: number;
}

const MIN_PAUSE_MS = 1; // a timer cannot wait for less

/** An item that waits. */
interface Waiting {
  readonly weight: number;
  readonly start: () => void;
}

/** Work of one class, first come, first served. */
export class WorkQueue {
  readonly #eventLoop: Pick<EventLoop, "yieldToIo" | "pollIo">;
  readonly #class: WorkClass;
  readonly #waiting: Waiting[] = [];
  #active = 0; // weight
  #isDispatching = false;
  #sliceWeight = 0; // left in this slice: items that start together are tracked only afterwards
  // by performance.now
  #lastOtherWork = -Infinity;
  #sliceEnd = -Infinity;
  #pausedUntil = -Infinity;
  #lastStart = performance.now();

  constructor(eventLoop: Pick<EventLoop, "yieldToIo" | "pollIo">, workClass: WorkClass) {
    this.#eventLoop = eventLoop;
    this.#class = workClass;
  }

  /** Resolves when the caller may run one item: at once within a time slice in which no other item waits. */
  next(weight = 1): Promise<void> {
    if (this.#waiting.length === 0 && this.#isInSlice(weight)) {
      this.#sliceWeight -= weight;
      return Promise.resolve();
    }
    return new Promise((start) => {
      this.#waiting.push({ weight, start });
      if (!this.#isDispatching) void this.#dispatch();
    });
  }

  /** Charges milliseconds of CPU time that an item used without a yield. */
  charge(ms: number): void {
    const { pauseRatio, maxPauseMs } = this.#class;
    const now = performance.now();
    this.#pausedUntil = Math.min(Math.max(this.#pausedUntil, now) + ms * pauseRatio, now + maxPauseMs);
  }

  /** Counts `work` as in progress until it settles. */
  async track(work: Promise<unknown>, weight = 1): Promise<void> {
    this.#active += weight;
    await work.catch(() => {}); // the caller handles the error
    this.#active -= weight;
    if (!this.#isDispatching && this.#waiting.length > 0) void this.#dispatch();
  }

  /** Runs `work` when it may start. Returns the result of `work`. */
  async run<T>(work: () => Promise<T>, weight = 1): Promise<T> {
    await this.next(weight);
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
      const { weight } = this.#waiting[0]!;
      if (!this.#hasRoomFor(weight)) break;
      this.#sliceEnd = performance.now() + this.#class.timeSliceMs;
      this.#sliceWeight = Math.max(weight, this.#class.maxWeight - this.#active);
      do {
        const { weight, start } = this.#waiting.shift()!;
        this.#sliceWeight -= weight;
        this.#lastStart = performance.now();
        start();
        await undefined; // the item runs until its first await
      } while (this.#waiting.length > 0 && this.#isInSlice(this.#waiting[0]!.weight));
    }
    this.#isDispatching = false;
  }

  /** Yields once, and until the pause is over or the node is idle. */
  async #pause(): Promise<void> {
    const { pauseRatio, quietMs } = this.#class;
    if (pauseRatio === 0) return await this.#eventLoop.yieldToIo();
    for (;;) {
      const isLoopIdle = await this.#eventLoop.pollIo();
      const isQuiet = performance.now() - this.#lastOtherWork >= quietMs;
      const pauseMs = this.#pauseMs;
      if ((isLoopIdle && isQuiet) || pauseMs < MIN_PAUSE_MS) return;
      if (isLoopIdle) await sleep(pauseMs); // other polls take a while
    }
  }

  /** Whether an item may start now without a yield. */
  #isInSlice(weight: number): boolean {
    return weight <= this.#sliceWeight && performance.now() < this.#sliceEnd && this.#hasRoomFor(weight);
  }

  #hasRoomFor(weight: number): boolean {
    return this.#active === 0 || this.#active + weight <= this.#class.maxWeight;
  }

  get #pauseMs(): number {
    return Math.min(this.#pausedUntil, this.#lastStart + this.#class.maxPauseMs) - performance.now();
  }
}
