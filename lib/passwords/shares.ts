/** The recent use of a resource by networks or addresses. The key with the least use gets the next unit. */
import { BoundedMap } from "../bounded_map.ts";

/**
 * The most units that count against a key. Among keys at this bound, the one whose last charge is the longest
 * ago goes first.
 */
const MAX_DEBT = 5;

/** Milliseconds in which a debt decays by one unit: after 2.5 minutes a key has none. */
const DECAY_INTERVAL_MS = 30_000;

/**
 * Keys with a debt, some 2 MB. Beyond that, the debt of the key whose last charge is the longest ago is
 * dropped.
 */
const MAX_KEYS = 20_000;

interface Share {
  readonly debt: number;
  /** The time of that debt, in milliseconds of the clock. */
  readonly updatedAt: number;
  /** The number of the last charge, counted over all keys. */
  readonly chargeNumber: number;
}

/** The debts of keys. */
export class Shares {
  readonly #shares: BoundedMap<string, Share>;
  readonly #clock: () => number;
  #chargeCount = 0;

  /** `clock` returns milliseconds that never go back. `maxKeys` is the most keys with a debt. */
  constructor(clock: () => number, maxKeys = MAX_KEYS) {
    this.#clock = clock;
    this.#shares = new BoundedMap(maxKeys);
  }

  /** Charges a key `count` units. A negative number is a refund. */
  charge(key: string, count: number): void {
    const now = this.#clock();
    const debt = Math.max(0, Math.min(MAX_DEBT, this.#debt(key, now) + count));
    const chargeNumber = count > 0 ? ++this.#chargeCount : this.#shares.get(key)?.chargeNumber ?? 0;
    this.#shares.set(key, { debt, updatedAt: now, chargeNumber });
  }

  /** Returns the key with the smallest debt. Ties go to the earliest last charge, then to the first key. */
  least(keys: Iterable<string>): string {
    const now = this.#clock();
    let found: string | undefined;
    let [leastDebt, leastCharge] = [Infinity, Infinity];
    for (const key of keys) {
      const debt = Math.ceil(this.#debt(key, now));
      const chargeNumber = this.#shares.get(key)?.chargeNumber ?? 0;
      if (debt > leastDebt || (debt === leastDebt && chargeNumber >= leastCharge)) continue;
      [found, leastDebt, leastCharge] = [key, debt, chargeNumber];
    }
    return found!;
  }

  #debt(key: string, now: number): number {
    const share = this.#shares.get(key);
    return share ? Math.max(0, share.debt - (now - share.updatedAt) / DECAY_INTERVAL_MS) : 0;
  }
}
