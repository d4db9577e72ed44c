/** Pauses the reading of a connection. */

/** Longer pauses end after this time, so that the end of a paused client is soon noticed. */
const MAX_PAUSE_MS = 2_000;

/** The pause of one connection. */
export class ReadThrottle {
  #resume: (() => void) | undefined;

  /** Resolves after `ms` milliseconds, after {@link MAX_PAUSE_MS}, or at {@link ReadThrottle.resume}. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#resume?.(), Math.min(ms, MAX_PAUSE_MS));
      this.#resume = () => {
        clearTimeout(timer);
        this.#resume = undefined;
        resolve();
      };
    });
  }

  /** Ends a pause. */
  resume(): void {
    this.#resume?.();
  }
}
