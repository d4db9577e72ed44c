/** Where calls wait for the database: in order, and bounded in number and in bytes. */
import { StoreUnavailableError } from "../store.ts";
import type { StoreCall } from "./operations.ts";

/** Calls that may wait before further ones are turned away: what a slow disk works off within seconds. */
const MAX_WAITING = 100_000;

/** Bytes of calls that may wait: a thousand of the longest messages, which a slow disk writes within seconds too. */
const MAX_WAITING_BYTES = 64 * 1_024 * 1_024;

/** Bytes of calls in one batch: they are copied on their way to the database's thread, all at once. */
const MAX_BATCH_BYTES = 4 * 1_024 * 1_024;

/** Bytes that a call is taken for, its text aside: what is kept of it while it waits, roughly. */
const CALL_OVERHEAD_BYTES = 256;

/** A call, and how to tell its caller what became of it. */
export interface PendingCall {
  readonly call: StoreCall;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Calls in the order in which they were made. */
export class CallQueue {
  readonly #maxBatchSize: number;
  readonly #pending: PendingCall[] = [];
  #pendingBytes = 0;

  /** A queue from which at most `batch` calls are taken at once. */
  constructor(batch: number) {
    this.#maxBatchSize = batch;
  }

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Puts a call at the end. Throws {@link StoreUnavailableError} if too much waits already. */
  add(pending: PendingCall): void {
    const bytes = this.#pendingBytes + sizeOf(pending.call);
    if (this.#pending.length >= MAX_WAITING || bytes > MAX_WAITING_BYTES) {
      throw new StoreUnavailableError(`${this.#pending.length} calls are waiting for the database`);
    }
    this.#pendingBytes = bytes;
    this.#pending.push(pending);
  }

  /** Takes the first calls, as many as go into one batch: one at least, if there is any. */
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

  /** Puts calls that were taken, and not carried out, back at the front. */
  putBack(calls: readonly PendingCall[]): void {
    for (const { call } of calls) this.#pendingBytes += sizeOf(call);
    this.#pending.unshift(...calls);
  }
}

/** Roughly the bytes of a call. Only messages have long texts; their UTF-16 units are counted, which costs nothing. */
function sizeOf(call: StoreCall): number {
  return call[0] === "append" ? CALL_OVERHEAD_BYTES + call[3].length + call[4].length : CALL_OVERHEAD_BYTES;
}
