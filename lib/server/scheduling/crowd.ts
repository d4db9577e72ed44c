/**
 * Connections that begin, end, or have no login: a thousand may do so in the same moment. However little work
 * each is, all of it at once would make all others wait, so they take turns.
 */
import type { EventLoop } from "./event_loop.ts";

/** Milliseconds of their work between two breaks, and what was begun by then: so long all others wait. */
const SLICE = 1;

/** One queue for all of a server, first come first served. */
export class Crowd {
  readonly #breaks: Pick<EventLoop, "yieldToIo">;
  readonly #waiting: (() => void)[] = [];
  #isServing = false;

  /** `breaks`: in which others have their turns. */
  constructor(breaks: Pick<EventLoop, "yieldToIo">) {
    this.#breaks = breaks;
  }

  /** Resolves when it is the caller's turn to do a little. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (!this.#isServing) void this.#serve();
    });
  }

  async #serve(): Promise<void> {
    this.#isServing = true;
    while (this.#waiting.length > 0) {
      await this.#breaks.yieldToIo();
      const end = performance.now() + SLICE;
      do {
        this.#waiting.shift()!();
        await undefined; // it does now what it does at once
      } while (this.#waiting.length > 0 && performance.now() < end);
    }
    this.#isServing = false;
  }
}
