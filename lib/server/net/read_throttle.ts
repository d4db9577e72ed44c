/** When a connection is not read: because it has asked for too much, or others go first. */
import type { Lane } from "../scheduling/lane.ts";

const MAX_PAUSE_MS = 2_000; // ms without reading: whether a client is still there is to be noticed soon
const QUANTUM_MS = 1; // ms in which heavy work may be gone on with: a few requests of one that makes too many

/** One connection's pauses. Times are by `performance.now`. */
export class ReadThrottle {
  readonly #bulkQueue: Lane;
  #resume: (() => void) | undefined;
  #quantumEnd = -Infinity;

  /** `lane`: where it waits for its turns. */
  constructor(bulkQueue: Lane) {
    this.#bulkQueue = bulkQueue;
  }

  /** Whether it is resting. */
  get isPaused(): boolean {
    return this.#resume !== undefined;
  }

  /** Resolves after so many milliseconds, a few seconds at the most, or when it is woken; gives the time. */
  pause(ms: number): Promise<number> {
    return new Promise((resolve) => {
      this.#resume = () => {
        clearTimeout(timer);
        this.#resume = undefined;
        resolve(performance.now());
      };
      const timer = setTimeout(this.#resume, Math.min(ms, MAX_PAUSE_MS));
    });
  }

  /** Ends a rest. */
  resume(): void {
    this.#resume?.();
  }

  /** Resolves when it is its turn to do heavy work, at once if its last one isn't over; gives the time. */
  async waitForQuantum(): Promise<number> {
    if (this.#bulkQueue.isFree && performance.now() < this.#quantumEnd) return performance.now();
    await this.#bulkQueue.turn();
    const now = performance.now();
    this.#quantumEnd = now + QUANTUM_MS;
    return now;
  }
}
