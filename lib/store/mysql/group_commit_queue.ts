/**
 * Group commit: while one batch is on its way to the database and back, the next batch collects calls. So all
 * calls of that time share the cost of one commit, and no call waits for a timer.
 */
import { StoreUnavailableError } from "../store.ts";
import type { DatabaseError } from "./errors.ts";

/** Calls that may wait: a slow database needs some seconds for them. */
const MAX_WAITING = 100_000;

/**
 * Bytes of calls that may wait: a thousand of the longest messages, for which a slow database needs some
 * seconds too.
 */
const MAX_WAITING_BYTES = 64 * 1_024 * 1_024;

/** A call, and the functions that settle it. Only the first settlement counts. */
export interface Pending<C, R> {
  readonly call: C;
  resolve(result: R): void;
  reject(error: Error): void;
}

/** The rules for batches of a kind of call. */
export interface BatchPolicy<C, R> {
  /** Returns the approximate size of a call in bytes. */
  sizeOf(call: C): number;
  /**
   * Begins a batch. Returns a function that tells for each call, in order, whether it fits. The first call
   * always goes in.
   */
  startBatch(): (call: C) => boolean;
  /**
   * Runs a batch in order, and settles its calls. A rejection settles the remaining calls. It also rejects
   * all waiting calls if the database is unavailable: each further batch would fail in the same way.
   */
  run(batch: readonly Pending<C, R>[]): Promise<void>;
}

/** Work that runs alone, between batches. */
type Barrier = Pending<() => Promise<unknown>, unknown> & { readonly isBarrier: true };

/** Runs calls in the order in which they are made. */
export class GroupCommitQueue<C, R> {
  readonly #policy: BatchPolicy<C, R>;
  readonly #pending: (Pending<C, R> | Barrier)[] = [];
  #pendingBytes = 0;
  #isRunning = false;

  constructor(policy: BatchPolicy<C, R>) {
    this.#policy = policy;
  }

  /** Adds a call. Rejects with {@link StoreUnavailableError} if too many calls wait. */
  async add(call: C): Promise<R> {
    const bytes = this.#pendingBytes + this.#policy.sizeOf(call);
    if (bytes > MAX_WAITING_BYTES) {
      throw new StoreUnavailableError(
        `Cannot send to the database: calls of ${this.#pendingBytes} bytes are waiting`,
      );
    }
    return await new Promise<R>((resolve, reject) => {
      this.#enqueue({ call, resolve, reject });
      this.#pendingBytes = bytes;
    });
  }

  /** Runs work after all earlier calls and before all later ones. Rejects as `add` does. */
  async barrier<T>(work: () => Promise<T>): Promise<T> {
    return await new Promise<T>((resolve, reject) => {
      this.#enqueue({ call: work, isBarrier: true, resolve: resolve as (result: unknown) => void, reject });
    });
  }

  #enqueue(pending: Pending<C, R> | Barrier): void {
    if (this.#pending.length >= MAX_WAITING) {
      throw new StoreUnavailableError(`Cannot send to the database: ${MAX_WAITING} calls are waiting`);
    }
    this.#pending.push(pending);
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    await undefined; // lets the calls of one microtask run form one batch
    for (let first; (first = this.#pending[0]);) {
      if ("isBarrier" in first) {
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
      if (kind === "connection_lost" || kind === "unavailable" || kind === "timeout") {
        this.#rejectAll(error as Error);
      }
    }
  }

  #takeBatch(): Pending<C, R>[] {
    const fits = this.#policy.startBatch();
    const batch: Pending<C, R>[] = [];
    for (const pending of this.#pending) {
      if ("isBarrier" in pending || (!fits(pending.call) && batch.length > 0)) break;
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
