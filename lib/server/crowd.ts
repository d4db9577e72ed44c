/**
 * Those who come, go, or aren't logged in: a thousand may do so in the same moment. However little work each is, all of
 * it at once would have everybody else wait, so they take turns.
 */
import { setImmediate } from "node:timers";

/** Milliseconds of their work in one turn of the event loop, and what was begun by then: so long anybody else waits. */
const SLICE = 1;

/** One line for all of a server. Who comes first is first. */
export class Crowd {
  readonly #waiting: (() => void)[] = [];
  #isDue = false;

  /** Resolves when it is the caller's turn to do a little. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#fallDue();
    });
  }

  #fallDue(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => void this.#serve());
  }

  async #serve(): Promise<void> {
    const end = performance.now() + SLICE;
    do {
      this.#waiting.shift()!();
      await undefined; // it does now what it does at once
    } while (this.#waiting.length > 0 && performance.now() < end);
    this.#isDue = false;
    if (this.#waiting.length > 0) this.#fallDue();
  }
}
