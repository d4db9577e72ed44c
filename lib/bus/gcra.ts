/**
 * Token buckets within a process, by the generic cell rate algorithm (GCRA). A bucket is one number: its
 * theoretical arrival time, at which it will be full. A full bucket needs no entry.
 */
import type { RateLimit } from "./bus.ts";

/**
 * Buckets in memory, about 10 MB of them. Above the bound, the fullest buckets are evicted first: a client
 * that creates a million new keys cannot evict an empty bucket.
 */
const MAX_KEYS = 100_000;

/** The fraction of {@link MAX_KEYS} that an eviction retains, so that one eviction serves many new keys. */
const RETAINED_FRACTION = 0.75;

/** Token buckets by key. */
export class KeyedRateLimiter {
  readonly #tat = new Map<string, number>(); // in whole microseconds, so that sums are exact
  readonly #clock: () => number;
  readonly #maxKeys: number;

  /** `clock` returns milliseconds and never goes back. `maxKeys` bounds the buckets in memory. */
  constructor(clock: () => number = () => performance.now(), maxKeys = MAX_KEYS) {
    this.#clock = clock;
    this.#maxKeys = maxKeys;
  }

  /** Takes tokens as `Bus.tryConsume` does. */
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

  /** The number of buckets in memory. */
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
 * Returns the microseconds in which `count` tokens are refilled. Rounds towards 0, so that a full bucket
 * holds the burst.
 */
export function incrementMicros({ burst, periodMs }: RateLimit, count: number): number {
  return Math.trunc(1_000 * periodMs * count / burst);
}
