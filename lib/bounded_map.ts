/** A Map of bounded size. */

/** A Map that evicts the entry whose last `set` is the longest ago when it grows beyond its bound. */
export class BoundedMap<Key, Value> {
  readonly #entries = new Map<Key, Value>(); // the entry that was set the longest ago first
  readonly #maxSize: number;

  /** `maxSize` is the most entries, at least 1. */
  constructor(maxSize: number) {
    this.#maxSize = maxSize;
  }

  /** Returns the value of a key. Does not count as a use of the entry. */
  get(key: Key): Value | undefined {
    return this.#entries.get(key);
  }

  /** Returns whether there is an entry of this key. */
  has(key: Key): boolean {
    return this.#entries.has(key);
  }

  /** Sets the value of a key. Returns the value that was evicted for it, if one was. */
  set(key: Key, value: Value): Value | undefined {
    this.#entries.delete(key); // an entry that is set again goes to the end of the order
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#maxSize) return undefined;
    const [[oldestKey, evicted]] = this.#entries as unknown as [[Key, Value]];
    this.#entries.delete(oldestKey);
    return evicted;
  }

  /** Deletes the entry of a key, if there is one. */
  delete(key: Key): void {
    this.#entries.delete(key);
  }

  /** Deletes all entries. */
  clear(): void {
    this.#entries.clear();
  }
}
