/** Commands that are under way. */

/** Whether the promise is settled within `ms` milliseconds; rejects if it is rejected by then. */
export async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), ms));
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Those that were begun and haven't ended, to wait for. */
export class Running {
  readonly #promises = new Set<Promise<void>>();

  /** How many there are. */
  get size(): number {
    return this.#promises.size;
  }

  /** Adds one; `failed` is called if it is rejected. */
  add(command: Promise<void>, failed: (error: unknown) => void): void {
    const promise: Promise<void> = command.catch(failed).finally(() => this.#promises.delete(promise));
    this.#promises.add(promise);
  }

  /** Resolves when one more has ended, or there is none. */
  async one(): Promise<void> {
    if (this.size > 0) await Promise.race(this.#promises);
  }

  /** Resolves to true when all have ended, or to false when none has for `patience` milliseconds. */
  async all(patience: number): Promise<boolean> {
    while (this.size > 0) {
      if (!await within(this.one(), patience)) return false;
    }
    return true;
  }
}
