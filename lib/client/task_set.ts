/** Running commands. */

/**
 * Resolves to whether the promise settles within `ms` milliseconds. Rejects if the promise rejects by then.
 */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), ms));
  try {
    return await Promise.race([promise.then(() => true), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** A set of running tasks. */
export class TaskSet {
  readonly #tasks = new Set<Promise<void>>();

  /** The number of running tasks. */
  get size(): number {
    return this.#tasks.size;
  }

  /** Adds a task, and calls `onError` if it rejects. */
  add(task: Promise<void>, onError: (error: unknown) => void): void {
    const promise: Promise<void> = task.catch(onError).finally(() => this.#tasks.delete(promise));
    this.#tasks.add(promise);
  }

  /** Resolves when the next task has ended, or at once if there is none. */
  async nextDone(): Promise<void> {
    if (this.size > 0) await Promise.race(this.#tasks);
  }

  /** Resolves to true when all tasks have ended, or to false if none ends for `timeoutMs` milliseconds. */
  async allDone(timeoutMs: number): Promise<boolean> {
    while (this.size > 0) {
      if (!await settlesWithin(this.nextDone(), timeoutMs)) return false;
    }
    return true;
  }
}
