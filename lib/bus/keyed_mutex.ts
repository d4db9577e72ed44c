/** Locks within a process: one per key, and who asked first has it first. */

/** A holder of a lock, or one who waits for it. */
interface LockRequest {
  readonly key: number;
  readonly owner: object;
  readonly grant: () => void;
  readonly reject: (error: Error) => void;
}

/** One lock per number. */
export class KeyedMutex {
  readonly #queues = new Map<number, LockRequest[]>(); // the first of each is the holder

  /** Waits for the lock. What it resolves to gives it back, and does nothing the second time. */
  acquire(key: number, owner: object): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const request: LockRequest = { key, owner, grant: () => resolve(() => this.#release(request)), reject };
      const queue = this.#queues.get(key);
      if (queue) queue.push(request);
      else this.#queues.set(key, [request]);
      if (!queue) request.grant();
    });
  }

  /** Rejects with `error` what an owner waits for; what it holds, it keeps. */
  rejectWaiters(owner: object, error: Error): void {
    for (const queue of [...this.#queues.values()]) {
      for (const request of queue.slice(1)) {
        if (request.owner !== owner) continue;
        request.reject(error);
        this.#release(request);
      }
    }
  }

  /** Gives back what an owner holds, and rejects with `error` what it waits for. */
  releaseAll(owner: object, error: Error): void {
    this.rejectWaiters(owner, error); // first, so that none of them gets its turn only to lose it
    for (const [holder] of [...this.#queues.values()]) if (holder?.owner === owner) this.#release(holder);
  }

  #release(request: LockRequest): void {
    const queue = this.#queues.get(request.key);
    const index = queue?.indexOf(request) ?? -1;
    if (!queue || index < 0) return;
    queue.splice(index, 1);
    if (queue.length === 0) this.#queues.delete(request.key);
    else if (index === 0) queue[0]!.grant();
  }
}
