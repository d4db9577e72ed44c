/**
 * The size of batches, by the speed of the link to the database. A batch has no reply before all of it has
 * arrived. Over a slow link, a large batch would time out, be sent again, and time out again.
 */

/**
 * The first length: 5 s on a link of 50 kB/s, and a few round trips below {@link MAX_LENGTH} on a fast link.
 */
const INITIAL_LENGTH = 256 * 1_024;

/** The largest length. A local network carries it in some ten milliseconds. */
const MAX_LENGTH = 4 * 1_024 * 1_024;

/** The smallest length. A link below 7 kB/s cannot carry it in time, and is too slow for a database. */
const MIN_LENGTH = 64 * 1_024;

/** Milliseconds. After a full batch that took less, the length grows. */
const FAST_BATCH_MS = 500;

/**
 * Milliseconds. After a full batch that took more, the length shrinks, so that other connections get
 * bandwidth too.
 */
const SLOW_BATCH_MS = 2_000;

/** The maximal length of a batch, adapted to the duration of batches. All lengths are in UTF-16 units. */
export class BatchSize {
  readonly #maxLength: number;
  #length: number;

  /** `maxLength` is the longest statement that the database accepts. */
  constructor(maxLength: number) {
    this.#maxLength = Math.min(MAX_LENGTH, maxLength);
    this.#length = Math.min(INITIAL_LENGTH, this.#maxLength);
  }

  /** The maximal length of the next batch. */
  get length(): number {
    return this.#length;
  }

  /**
   * Adapts the length to the duration of a batch. A small batch says nothing about the link, as other delays
   * dominate.
   */
  recordDuration(ms: number, length: number): void {
    if (length < this.#length / 2) return;
    if (ms < FAST_BATCH_MS) this.#length = Math.min(this.#maxLength, this.#length * 2);
    if (ms > SLOW_BATCH_MS) this.#length = Math.min(this.#length, Math.max(MIN_LENGTH, this.#length / 2));
  }

  /** Adapts the length to a batch that timed out. Returns whether smaller batches are possible. */
  recordTimeout(length: number): boolean {
    this.#length = Math.min(this.#length, MIN_LENGTH);
    return length > this.#length;
  }
}
