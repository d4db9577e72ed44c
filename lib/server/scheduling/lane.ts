/** Heavy work is done a piece at a time, with everything else that is ready between two pieces. */
import type { EventLoop } from "./event_loop.ts";

/**
 * Pieces under way, all clients' together. The busier the node is the longer each takes, so that their rate
 * follows by itself: what is committed together with all others' messages stays little more work than those
 * are.
 */
const UNDER_WAY = 2;

/**
 * Milliseconds that are left to all other work for each that was spent on heavy work, which gets 1/17 of the
 * event loop. With a ninth, honest messages took a fifth longer beside a thousand hostile clients.
 */
const REST = 16;

/**
 * Milliseconds from one turn to the next, whatever was spent meanwhile: the messages of busy groups count as
 * well, and heavy work goes on beside them. Nor does it rest longer when they are over.
 */
const LONGEST_REST = 100;

/** Milliseconds of a rest that is worth a timer, which can't do less. */
const LEAST_REST = 1;

/** One piece between two breaks, first come first served, for all clients. */
export class Lane {
  readonly #breaks: Pick<EventLoop, "yieldToIo">;
  readonly #most: number;
  readonly #waiting: (() => void)[] = [];
  #underWay = 0;
  #isDue = false;
  #restsUntil = -Infinity; // by performance.now
  #lastTurn = performance.now();

  /** `breaks`: in which others have their turns. At most `most` pieces are under way at the same time. */
  constructor(breaks: Pick<EventLoop, "yieldToIo">, most = UNDER_WAY) {
    this.#breaks = breaks;
    this.#most = most;
  }

  /** Whether another piece may be begun. */
  get isFree(): boolean {
    return this.#underWay < this.#most && this.#rest < LEAST_REST;
  }

  /** Resolves when it is the caller's turn to do one piece. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#fallDue();
    });
  }

  /** So many milliseconds were spent on a piece, in which no other work had a turn. */
  spent(ms: number): void {
    const now = performance.now();
    this.#restsUntil = Math.min(Math.max(this.#restsUntil, now) + ms * REST, now + LONGEST_REST);
  }

  /** Work that counts as so many pieces is under way until the promise is settled. */
  async hold(work: Promise<unknown>, pieces = 1): Promise<void> {
    this.#underWay += pieces;
    try {
      await work;
    } catch {
      // is whose work it is's to hear
    }
    this.#underWay -= pieces;
    this.#fallDue();
  }

  /** Does work that counts as so many pieces when it is its turn. Gives what `work` gives. */
  async do<T>(work: () => Promise<T>, pieces: number): Promise<T> {
    await this.turn();
    const result = work();
    void this.hold(result, pieces);
    return await result;
  }

  #fallDue(): void {
    if (this.#isDue || this.#waiting.length === 0 || this.#underWay >= this.#most) return;
    this.#isDue = true;
    const due = () => {
      this.#isDue = false;
      if (this.isFree) {
        this.#lastTurn = performance.now();
        this.#waiting.shift()?.();
      }
      this.#fallDue();
    };
    const rest = this.#rest;
    if (rest < LEAST_REST) void this.#breaks.yieldToIo().then(due);
    else setTimeout(due, rest);
  }

  get #rest(): number {
    return Math.min(this.#restsUntil, this.#lastTurn + LONGEST_REST) - performance.now();
  }
}
