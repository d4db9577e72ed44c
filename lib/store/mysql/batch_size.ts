/**
 * How much text goes into one batch: as much as the link to the database carries soon. A batch is answered when all of it
 * has arrived; over a slow link a large one would time out, be sent again, and time out again.
 */

/** UTF-16 units of text in the first batch: 5 s on a link of 50 kB/s, and few round trips from {@link MAX_LENGTH} on a fast one. */
const INITIAL_LENGTH = 256 * 1_024;

/** The most, which a local network carries in some ten milliseconds. */
const MAX_LENGTH = 4 * 1_024 * 1_024;

/** The least. What is slower than 7 kB/s does not carry it in time, and is no link to a database. */
const MIN_LENGTH = 64 * 1_024;

/** Milliseconds: a full batch that took less is followed by larger ones. */
const FAST_BATCH_MS = 500;

/** Milliseconds: a full batch that took more is followed by smaller ones, so that other connections get through too. */
const SLOW_BATCH_MS = 2_000;

/** The size of batches, adapted to how long they take. All texts are in UTF-16 units. */
export class BatchSize {
  readonly #maxLength: number;
  #length: number;

  /** `most` is what the database takes in one statement. */
  constructor(maxLength: number) {
    this.#maxLength = Math.min(MAX_LENGTH, maxLength);
    this.#length = Math.min(INITIAL_LENGTH, this.#maxLength);
  }

  /** The text that a batch may have now. */
  get length(): number {
    return this.#length;
  }

  /** A batch of so much text took so long. Small ones tell nothing of the link: what they wait for is something else. */
  recordDuration(ms: number, length: number): void {
    if (length < this.#length / 2) return;
    if (ms < FAST_BATCH_MS) this.#length = Math.min(this.#maxLength, this.#length * 2);
    if (ms > SLOW_BATCH_MS) this.#length = Math.min(this.#length, Math.max(MIN_LENGTH, this.#length / 2));
  }

  /** A batch of so much text got no answer. Gives whether smaller ones are left to try. */
  recordTimeout(length: number): boolean {
    this.#length = Math.min(this.#length, MIN_LENGTH);
    return length > this.#length;
  }
}
