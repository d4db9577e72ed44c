/** Locks within one process: one per key, granted in the order of the requests. */

/** Requests that may wait for all locks of a mutex together: far more than a node has connections. */
const MAX_WAITERS = 100_000;

/** The holder of a lock, or a waiter. */
interface LockRequest<K> {
  readonly key: K;
  readonly owner: object | undefined;
  readonly grant: () => void;
  readonly reject: (error: Error) => void;
}

/** One lock per key. */
export class KeyedMutex<K> {
  readonly #queues = new Map<K, LockRequest<K>[]>(); // the first request of each queue holds the lock
  readonly #overloadError: (waiters: number) => Error;
  readonly #maxWaiters: number;
  #waiterCount = 0;

  /** `overloadError` makes the error of a request that finds `maxWaiters` requests waiting. */
  constructor(overloadError: (waiters: number) => Error, maxWaiters = MAX_WAITERS) {
    this.#overloadError = overloadError;
    this.#maxWaiters = maxWaiters;
  }

  /**
   * Waits for the lock of `key`, and resolves to the function that releases the lock. Further calls of that
   * function have no effect. Rejects with the overload error if too many requests wait.
   */
  acquire(key: K, owner?: object): Promise<() => void> {
    const queue = this.#queues.get(key);
    if (queue && this.#waiterCount >= this.#maxWaiters) {
      return Promise.reject(this.#overloadError(this.#maxWaiters));
    }
    return new Promise((resolve, reject) => {
      const request = { key, owner, grant: () => resolve(() => this.#release(request)), reject };
      if (queue) {
        queue.push(request);
        this.#waiterCount++;
      } else {
        this.#queues.set(key, [request]);
        request.grant();
      }
    });
  }

  /**
   * Runs `work` while holding the lock of `key`. Resolves and rejects as `work` does; rejects as `acquire`
   * does.
   */
  async run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const release = await this.acquire(key);
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** Rejects with `error` all requests of `owner` that wait. The owner retains the locks that it holds. */
  rejectWaiters(owner: object, error: Error): void {
    for (const [key, [holder, ...waiters]] of this.#queues) {
      const rejected = waiters.filter((waiter) => waiter.owner === owner);
      if (rejected.length === 0) continue;
      this.#queues.set(key, [holder!, ...waiters.filter((waiter) => waiter.owner !== owner)]);
      this.#waiterCount -= rejected.length;
      for (const { reject } of rejected) reject(error);
    }
  }

  /** Releases all locks of `owner`, and rejects with `error` all of its requests that wait. */
  releaseAll(owner: object, error: Error): void {
    this.rejectWaiters(owner, error); // first, so that none of them is granted a lock of the same owner
    for (const [holder] of [...this.#queues.values()]) if (holder?.owner === owner) this.#release(holder);
  }

  #release(request: LockRequest<K>): void {
    const queue = this.#queues.get(request.key);
    const index = queue?.indexOf(request) ?? -1;
    if (!queue || index < 0) return;
    queue.splice(index, 1);
    if (queue.length === 0) this.#queues.delete(request.key);
    else {
      this.#waiterCount--; // either this request waited, or the next one waits no longer
      if (index === 0) queue[0]!.grant();
    }
  }
}
