/**
 * How much text goes into one batch: as much as the link to the database carries soon. A batch is answered when all of it
 * has arrived; over a slow link a large one would time out, be sent again, and time out again.
 */

/** UTF-16 units of text in the first batch: 5 s on a link of 50 kB/s, and few round trips from {@link MOST} on a fast one. */
const FIRST = 256 * 1_024;

/** The most, which a local network carries in some ten milliseconds. */
const MOST = 4 * 1_024 * 1_024;

/** The least. What is slower than 7 kB/s does not carry it in time, and is no link to a database. */
const LEAST = 64 * 1_024;

/** Milliseconds: a full batch that took less is followed by larger ones. */
const QUICK = 500;

/** Milliseconds: a full batch that took more is followed by smaller ones, so that other connections get through too. */
const SLOW = 2_000;

/** The size of batches, adapted to how long they take. All texts are in UTF-16 units. */
export class BatchSize {
  readonly #most: number;
  #text: number;

  /** `most` is what the database takes in one statement. */
  constructor(most: number) {
    this.#most = Math.min(MOST, most);
    this.#text = Math.min(FIRST, this.#most);
  }

  /** The text that a batch may have now. */
  get text(): number {
    return this.#text;
  }

  /** A batch of so much text took so long. Small ones tell nothing of the link: what they wait for is something else. */
  took(ms: number, text: number): void {
    if (text < this.#text / 2) return;
    if (ms < QUICK) this.#text = Math.min(this.#most, this.#text * 2);
    if (ms > SLOW) this.#text = Math.min(this.#text, Math.max(LEAST, this.#text / 2));
  }

  /** A batch of so much text got no answer. Gives whether smaller ones are left to try. */
  timedOut(text: number): boolean {
    this.#text = Math.min(this.#text, LEAST);
    return text > this.#text;
  }
}
