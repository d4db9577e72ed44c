/**
 * What networks or addresses have had of a resource lately, to tell which of them is to have the next piece.
 */
import { BoundedMap } from "../bounded_map.ts";

/**
 * Pieces that count against a key at the most. A key that has had none for a while comes before those that
 * have had some; among those that have had as much as this, the one whose last piece is the longest ago comes
 * first.
 */
const MAX_DEBT = 5;

/** Milliseconds after which one piece is forgotten: after 2.5 minutes a key is as good as new. */
const DECAY_INTERVAL_MS = 30_000;

/** Keys that are remembered, some 2 MB; beyond it the one that was charged the longest ago is forgotten. */
const MAX_KEYS = 20_000;

interface Share {
  readonly debt: number;
  /** When the debt was that, in milliseconds. */
  readonly updatedAt: number;
  /** Rises with each charge, over all keys. */
  readonly chargeNumber: number;
}

/** Shares by key. */
export class Shares {
  readonly #shares: BoundedMap<string, Share>;
  readonly #clock: () => number;
  #chargeCount = 0;

  /** `clock`: milliseconds that never go back. `max`: keys that are remembered. */
  constructor(clock: () => number, maxKeys = MAX_KEYS) {
    this.#clock = clock;
    this.#shares = new BoundedMap(maxKeys);
  }

  /** Counts pieces that the key gets; a negative number is given back. */
  charge(key: string, count: number): void {
    const now = this.#clock();
    const debt = Math.max(0, Math.min(MAX_DEBT, this.#debt(key, now) + count));
    const chargeNumber = count > 0 ? ++this.#chargeCount : this.#shares.get(key)?.chargeNumber ?? 0;
    this.#shares.set(key, { debt, updatedAt: now, chargeNumber });
  }

  /**
   * The key with the smallest debt, of those the one that was charged the longest ago, of those the first.
   */
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
