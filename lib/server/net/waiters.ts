/** A condition, and the callback of a caller that waits for it. */
interface Waiter {
  readonly isMet: () => boolean;
  readonly resolve: () => void;
}

/** Callers that wait until a queue is short enough. */
export class Waiters {
  #waiters: Waiter[] | undefined; // most connections never need an array

  /** Resolves when `isMet` returns true, which {@link Waiters.notify} checks. */
  until(isMet: () => boolean): Promise<void> {
    if (isMet()) return Promise.resolve();
    return new Promise((resolve) => (this.#waiters ??= []).push({ isMet, resolve }));
  }

  /** Checks all conditions again. */
  notify(): void {
    if (!this.#waiters) return;
    const { met = [], unmet } = Object.groupBy(this.#waiters, ({ isMet }) => isMet() ? "met" : "unmet");
    this.#waiters = unmet;
    for (const { resolve } of met) resolve();
  }
}
