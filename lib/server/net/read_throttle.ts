/** When a connection is not read: because it has asked for too much, or others go first. */
import type { Lane } from "../scheduling/lane.ts";

const REST_MOST = 2_000; // ms without reading: whether a client is still there is to be noticed soon
const TURN = 1; // ms in which heavy work may be gone on with: a few requests of one that makes too many

/** One connection's pauses. Times are by `performance.now`. */
export class Pauses {
  readonly #lane: Lane;
  #wake: (() => void) | undefined;
  #turnEnds = -Infinity;

  /** `lane`: where it waits for its turns. */
  constructor(lane: Lane) {
    this.#lane = lane;
  }

  /** Whether it is resting. */
  get isResting(): boolean {
    return this.#wake !== undefined;
  }

  /** Resolves after so many milliseconds, a few seconds at the most, or when it is woken; gives the time. */
  rest(ms: number): Promise<number> {
    return new Promise((resolve) => {
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve(performance.now());
      };
      const timer = setTimeout(this.#wake, Math.min(ms, REST_MOST));
    });
  }

  /** Ends a rest. */
  wake(): void {
    this.#wake?.();
  }

  /** Resolves when it is its turn to do heavy work, at once if its last one isn't over; gives the time. */
  async turn(): Promise<number> {
    if (this.#lane.isFree && performance.now() < this.#turnEnds) return performance.now();
    await this.#lane.turn();
    const now = performance.now();
    this.#turnEnds = now + TURN;
    return now;
  }
}
