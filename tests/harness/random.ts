/** Pseudo-random values that are the same in every run, so that a failure is repeatable. */

/** A small generator (mulberry32), which is sufficient for tests. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Returns an integer from 0 up to, but not including, `below`. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor(((t ^ (t >>> 14)) >>> 0) / 2 ** 32 * below);
  }

  /** Returns one of the values. */
  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  /** Returns random bytes. */
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }

  /** Returns text with quotes, braces, escapes, control characters and characters of all planes. */
  text(maxLength: number): string {
    const hard = [
      '"',
      "\\",
      "{",
      "}",
      "[",
      "]",
      "\0",
      "\n",
      "\u001b",
      "é",
      "中",
      "😀",
      "a",
      " ",
      ":",
      "\u2028",
    ];
    return Array.from({ length: this.below(maxLength + 1) }, () => this.pick(hard)).join("");
  }

  /** Returns a JSON value of at most `depth` levels. */
  json(depth: number): unknown {
    switch (this.below(depth > 0 ? 7 : 5)) {
      case 0:
        return this.below(2 ** 31) - 2 ** 30;
      case 1:
        return this.below(1_000) / 7;
      case 2:
        return this.pick([true, false, null]);
      case 3:
      case 4:
        return this.text(40);
      case 5:
        return Array.from({ length: this.below(5) }, () => this.json(depth - 1));
      default:
        return this.object(depth - 1);
    }
  }

  /** Returns a JSON object. */
  object(depth: number): Record<string, unknown> {
    const fields = Array.from({ length: this.below(6) }, () => [this.text(8), this.json(depth)] as const);
    return Object.fromEntries(fields);
  }

  /** Splits bytes into parts of 0 to `longest` bytes. */
  chunks(bytes: Uint8Array, longest: number): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) {
      const end = at + this.below(longest + 1);
      pieces.push(bytes.slice(at, end)); // copies, so that a later write into a part is detected
      at = Math.min(end, bytes.length);
    }
    return pieces;
  }
}
