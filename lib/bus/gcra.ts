/**
 * Buckets within a process. Of each only one number is kept: when it will be full again if nothing more is
 * taken (GCRA, the generic cell rate algorithm, keeps the same). One that is full needs none.
 */
import type { Quota } from "./bus.ts";

/**
 * Buckets that are remembered, some 10 MB of them. Beyond it those are forgotten that are closest to being
 * full: who fills the memory with a million new names can't make it forget a bucket that is empty.
 */
const REMEMBERED = 100_000;

/** The part of {@link REMEMBERED} that is kept then: forgetting many at once costs little for each. */
const KEPT = 0.75;

/** Buckets by their names. */
export class NamedBuckets {
  readonly #fullAt = new Map<string, number>(); // whole microseconds, so that sums are exact
  readonly #clock: () => number;
  readonly #most: number;

  /** `clock`: milliseconds that never go back. `most`: how many are remembered. */
  constructor(clock: () => number = () => performance.now(), most = REMEMBERED) {
    this.#clock = clock;
    this.#most = most;
  }

  /** See `Bus.spend`. */
  spend(bucket: string, quota: Quota, count: number): number {
    const now = this.#now();
    const most = now + 1_000 * quota.within;
    const before = Math.min(Math.max(this.#fullAt.get(bucket) ?? now, now), most);
    const after = before + microseconds(quota, count);
    if (after > most) return Math.ceil((after - most) / 1_000);
    if (after <= now) this.#fullAt.delete(bucket);
    else {
      this.#fullAt.set(bucket, after);
      if (this.#fullAt.size > this.#most) this.#forget();
    }
    return 0;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#fullAt.size;
  }

  #now(): number {
    return Math.floor(1_000 * this.#clock());
  }

  #forget(): void {
    const now = this.#now();
    for (const [bucket, fullAt] of this.#fullAt) if (fullAt <= now) this.#fullAt.delete(bucket);
    const byEmptiness = [...this.#fullAt].sort(([, a], [, b]) => b - a);
    for (const [bucket] of byEmptiness.slice(Math.floor(KEPT * this.#most))) this.#fullAt.delete(bucket);
  }
}

/**
 * In how many microseconds so many come back: rounded towards 0, so that a full bucket surely holds `size`.
 */
export function microseconds({ size, within }: Quota, count: number): number {
  return Math.trunc(1_000 * within * count / size);
}
