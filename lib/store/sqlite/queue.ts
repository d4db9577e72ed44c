/** The queue of calls that wait for the database thread, bounded in number and in bytes. */
import { StoreUnavailableError } from "../store.ts";
import type { StoreCall } from "./operations.ts";

/**
 * Maximum number of waiting calls, which a slow disk processes within seconds. Further calls are rejected.
 */
const MAX_WAITING_CALLS = 100_000;

/** Maximum size of all waiting calls: 1,000 of the longest messages, which a slow disk writes in seconds. */
const MAX_WAITING_BYTES = 64 * 1_024 * 1_024;

/** Maximum size of the calls of one batch, which is copied between the threads at once. */
const MAX_BATCH_BYTES = 4 * 1_024 * 1_024;

/** Approximate size of a waiting call, without its text. */
const CALL_OVERHEAD_BYTES = 256;

/** A call, and the resolvers of its promise. */
export interface PendingCall {
  readonly call: StoreCall;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** A FIFO queue of calls. */
export class CallQueue {
  readonly #maxBatchSize: number;
  readonly #pending: PendingCall[] = [];
  #pendingBytes = 0;

  /** Creates a queue with at most `maxBatchSize` calls per batch. */
  constructor(maxBatchSize: number) {
    this.#maxBatchSize = maxBatchSize;
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Appends a call. Throws {@link StoreUnavailableError} if the queue is full. */
  add(pending: PendingCall): void {
    const bytes = this.#pendingBytes + sizeOf(pending.call);
    if (this.#pending.length >= MAX_WAITING_CALLS || bytes > MAX_WAITING_BYTES) {
      throw new StoreUnavailableError(`${this.#pending.length} calls are waiting for the database`);
    }
    this.#pendingBytes = bytes;
    this.#pending.push(pending);
  }

  /** Removes and returns the calls of the next batch: at least one if the queue is not empty. */
  take(): PendingCall[] {
    let [count, bytes] = [0, 0];
    for (const { call } of this.#pending) {
      const size = sizeOf(call);
      if (count === this.#maxBatchSize || (count > 0 && bytes + size > MAX_BATCH_BYTES)) break;
      count++;
      bytes += size;
    }
    this.#pendingBytes -= bytes;
    return this.#pending.splice(0, count);
  }

  /** Puts calls that were taken but not run back to the front. */
  putBack(calls: readonly PendingCall[]): void {
    for (const { call } of calls) this.#pendingBytes += sizeOf(call);
    this.#pending.unshift(...calls);
  }
}

/**
 * Returns a call's approximate size in bytes. Only messages have long texts, of which the UTF-16 units count.
 */
function sizeOf(call: StoreCall): number {
  return call[0] === "append" ? CALL_OVERHEAD_BYTES + call[3].length + call[4].length : CALL_OVERHEAD_BYTES;
}
