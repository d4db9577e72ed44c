/**
 * Buckets within a process. Of each only one number is kept: when it will be full again if nothing more is
 * taken (GCRA, the generic cell rate algorithm, keeps the same). One that is full needs none.
 */
import type { RateLimit } from "./bus.ts";

/**
 * Buckets that are remembered, some 10 MB of them. Beyond it those are forgotten that are closest to being
 * full: who fills the memory with a million new names can't make it forget a bucket that is empty.
 */
const MAX_KEYS = 100_000;

/** The part of {@link MAX_KEYS} that is kept then: forgetting many at once costs little for each. */
const RETAINED_FRACTION = 0.75;

/** Buckets by their names. */
export class KeyedRateLimiter {
  readonly #tat = new Map<string, number>(); // whole microseconds, so that sums are exact
  readonly #clock: () => number;
  readonly #maxKeys: number;

  /** `clock`: milliseconds that never go back. `most`: how many are remembered. */
  constructor(clock: () => number = () => performance.now(), maxKeys = MAX_KEYS) {
    this.#clock = clock;
    this.#maxKeys = maxKeys;
  }

  /** See `Bus.spend`. */
  tryConsume(key: string, limit: RateLimit, count: number): number {
    const now = this.#now();
    const maxTat = now + 1_000 * limit.periodMs;
    const tat = Math.min(Math.max(this.#tat.get(key) ?? now, now), maxTat);
    const newTat = tat + incrementMicros(limit, count);
    if (newTat > maxTat) return Math.ceil((newTat - maxTat) / 1_000);
    if (newTat <= now) this.#tat.delete(key);
    else {
      this.#tat.set(key, newTat);
      if (this.#tat.size > this.#maxKeys) this.#evict();
    }
    return 0;
  }

  /** How many are remembered. */
  get size(): number {
    return this.#tat.size;
  }

  #now(): number {
    return Math.floor(1_000 * this.#clock());
  }

  #evict(): void {
    const now = this.#now();
    for (const [key, tat] of this.#tat) if (tat <= now) this.#tat.delete(key);
    const emptiestFirst = [...this.#tat].sort(([, a], [, b]) => b - a);
    for (const [key] of emptiestFirst.slice(Math.floor(RETAINED_FRACTION * this.#maxKeys))) {
      this.#tat.delete(key);
    }
  }
}

/**
 * In how many microseconds so many come back: rounded towards 0, so that a full bucket surely holds `size`.
 */
export function incrementMicros({ burst, periodMs }: RateLimit, count: number): number {
  return Math.trunc(1_000 * periodMs * count / burst);
}
