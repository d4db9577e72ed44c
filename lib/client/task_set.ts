/** Commands that are under way. */

/** Whether the promise is settled within `ms` milliseconds; rejects if it is rejected by then. */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), ms));
  try {
    return await Promise.race([promise.then(() => true), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Those that were begun and haven't ended, to wait for. */
export class TaskSet {
  readonly #tasks = new Set<Promise<void>>();

  /** How many there are. */
  get size(): number {
    return this.#tasks.size;
  }

  /** Adds one; `failed` is called if it is rejected. */
  add(task: Promise<void>, onError: (error: unknown) => void): void {
    const promise: Promise<void> = task.catch(onError).finally(() => this.#tasks.delete(promise));
    this.#tasks.add(promise);
  }

  /** Resolves when one more has ended, or there is none. */
  async nextDone(): Promise<void> {
    if (this.size > 0) await Promise.race(this.#tasks);
  }

  /** Resolves to true when all have ended, or to false when none has for `patience` milliseconds. */
  async allDone(timeoutMs: number): Promise<boolean> {
    while (this.size > 0) {
      if (!await settlesWithin(this.nextDone(), timeoutMs)) return false;
    }
    return true;
  }
}
