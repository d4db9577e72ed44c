/** When a connection is not read: because it has asked for too much, or others go first. */
import type { WorkQueue } from "../scheduling/work_queue.ts";

const MAX_PAUSE_MS = 2_000; // ms without reading: whether a client is still there is to be noticed soon

/** One connection's pauses. Times are by `performance.now`. */
export class ReadThrottle {
  readonly #bulkQueue: WorkQueue;
  #resume: (() => void) | undefined;

  /** `lane`: where it waits for its turns. */
  constructor(bulkQueue: WorkQueue) {
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

  /** Resolves when bulk work may start; gives the time. */
  async waitForQuantum(): Promise<number> {
    await this.#bulkQueue.next();
    return performance.now();
  }
}
