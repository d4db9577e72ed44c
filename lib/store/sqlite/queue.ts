/** Where calls wait for the database: in order, and bounded in number and in bytes. */
import { StoreUnavailable } from "../store.ts";
import type { Call, ChangeName, ReadName } from "./calls.ts";

/** Calls that may wait before further ones are turned away: what a slow disk works off within seconds. */
const MAX_WAITING = 100_000;

/** Bytes of calls that may wait: a thousand of the longest messages, which a slow disk writes within seconds too. */
const MAX_WAITING_BYTES = 64 * 1_024 * 1_024;

/** Bytes of calls in one batch: they are copied on their way to the database's thread, all at once. */
const BATCH_BYTES = 4 * 1_024 * 1_024;

/** Bytes that a call is taken for, its text aside: what is kept of it while it waits, roughly. */
const CALL_BYTES = 256;

/** A call, and how to tell its caller what became of it. */
export interface Waiting<C> {
  readonly call: C;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Calls in the order in which they were made. */
export class Queue<C extends Call<ChangeName | ReadName>> {
  readonly #batch: number;
  readonly #waiting: Waiting<C>[] = [];
  #bytes = 0;

  /** A queue from which at most `batch` calls are taken at once. */
  constructor(batch: number) {
    this.#batch = batch;
  }

  get empty(): boolean {
    return this.#waiting.length === 0;
  }

  /** Puts a call at the end. Throws {@link StoreUnavailable} if too much waits already. */
  add(waiting: Waiting<C>): void {
    const bytes = this.#bytes + sizeOf(waiting.call);
    if (this.#waiting.length >= MAX_WAITING || bytes > MAX_WAITING_BYTES) {
      throw new StoreUnavailable(`${this.#waiting.length} calls are waiting for the database`);
    }
    this.#bytes = bytes;
    this.#waiting.push(waiting);
  }

  /** Takes the first calls, as many as go into one batch: one at least, if there is any. */
  take(): Waiting<C>[] {
    let [count, bytes] = [0, 0];
    for (const { call } of this.#waiting) {
      const size = sizeOf(call);
      if (count === this.#batch || (count > 0 && bytes + size > BATCH_BYTES)) break;
      count++;
      bytes += size;
    }
    this.#bytes -= bytes;
    return this.#waiting.splice(0, count);
  }

  /** Puts calls that were taken, and not carried out, back at the front. */
  putBack(calls: readonly Waiting<C>[]): void {
    for (const { call } of calls) this.#bytes += sizeOf(call);
    this.#waiting.unshift(...calls);
  }
}

/** Roughly the bytes of a call. Only messages have long texts; their UTF-16 units are counted, which costs nothing. */
function sizeOf(call: Call<ChangeName | ReadName>): number {
  return call[0] === "append" ? CALL_BYTES + call[3].length + call[4].length : CALL_BYTES;
}
