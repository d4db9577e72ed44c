/**
 * Group commit: while one batch of calls is on its way to the database and back, the next one gathers. So the cost of
 * a commit is shared by all that came in the meantime, and nothing waits for a timer.
 */
import { StoreUnavailableError } from "../store.ts";
import type { DatabaseError } from "./errors.ts";

/** Calls that may wait before further ones are turned away: what a slow database works off within seconds. */
const MAX_WAITING = 100_000;

/** Bytes of calls that may wait: a thousand of the longest messages, which a slow database takes seconds for too. */
const MAX_WAITING_BYTES = 64 * 1_024 * 1_024;

/** A call, and how to tell its caller what became of it. The first word counts. */
export interface Pending<C, R> {
  readonly call: C;
  resolve(result: R): void;
  reject(error: Error): void;
}

/** How calls of a kind go together. */
export interface BatchPolicy<C, R> {
  /** Roughly the bytes that a call holds. */
  sizeOf(call: C): number;
  /** Begins a batch: gives what decides, call after call, whether one still goes into it. The first always does. */
  startBatch(): (call: C) => boolean;
  /**
   * Carries out a batch, in order, and tells each caller. If it rejects, so do all calls that it has not settled, and
   * those that wait too unless a statement was to blame: they would only find out one batch after the other.
   */
  run(batch: readonly Pending<C, R>[]): Promise<void>;
}

/** What runs alone, between batches. */
type Barrier = Pending<() => Promise<unknown>, unknown> & { readonly alone: true };

/** Carries out calls in the order in which they are made. */
export class GroupCommitQueue<C, R> {
  readonly #policy: BatchPolicy<C, R>;
  readonly #pending: (Pending<C, R> | Barrier)[] = [];
  #pendingBytes = 0;
  #isRunning = false;

  constructor(policy: BatchPolicy<C, R>) {
    this.#policy = policy;
  }

  /** Makes a call. Rejects with {@link StoreUnavailableError} if too much waits already. */
  async add(call: C): Promise<R> {
    const bytes = this.#pendingBytes + this.#policy.sizeOf(call);
    if (bytes > MAX_WAITING_BYTES) {
      throw new StoreUnavailableError("too many bytes are waiting for the database");
    }
    return await new Promise<R>((resolve, reject) => {
      this.#enqueue({ call, resolve, reject });
      this.#pendingBytes = bytes;
    });
  }

  /** Does something after all calls that were made so far and before all that are made later. Rejects as `add`. */
  async barrier<T>(work: () => Promise<T>): Promise<T> {
    return await new Promise<T>((resolve, reject) => {
      this.#enqueue({ call: work, alone: true, resolve: resolve as (result: unknown) => void, reject });
    });
  }

  #enqueue(pending: Pending<C, R> | Barrier): void {
    if (this.#pending.length >= MAX_WAITING) {
      throw new StoreUnavailableError(`${MAX_WAITING} calls are waiting for the database`);
    }
    this.#pending.push(pending);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    await undefined; // so that all calls of one turn go together
    for (let first; (first = this.#pending[0]);) {
      if ("alone" in first) {
        this.#pending.shift();
        await first.call().then(first.resolve, first.reject);
      } else await this.#runBatch();
    }
    this.#isRunning = false;
  }

  async #runBatch(): Promise<void> {
    const batch = this.#takeBatch();
    try {
      await this.#policy.run(batch);
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
      const { kind } = error as DatabaseError;
      if (kind === "lost" || kind === "refused" || kind === "silent") this.#rejectAll(error as Error);
    }
  }

  #takeBatch(): Pending<C, R>[] {
    const fits = this.#policy.startBatch();
    const batch: Pending<C, R>[] = [];
    for (const pending of this.#pending) {
      if ("alone" in pending || (!fits(pending.call) && batch.length > 0)) break;
      batch.push(pending);
      this.#pendingBytes -= this.#policy.sizeOf(pending.call);
    }
    this.#pending.splice(0, batch.length);
    return batch;
  }

  #rejectAll(error: Error): void {
    this.#pendingBytes = 0;
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }
}
