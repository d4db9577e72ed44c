/** Heavy work is done a piece at a time, with everything else that is ready between two pieces. */
import { setImmediate } from "node:timers";

/** One piece in each turn of the event loop, whoever it is for: the first to come is the first. */
export class Lane {
  readonly #waiting: (() => void)[] = [];
  #isDue = false;

  /** Resolves when it is the caller's turn to do one piece. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.#fallDue();
    });
  }

  #fallDue(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#waiting.shift()?.();
      if (this.#waiting.length > 0) this.#fallDue();
    });
  }
}
