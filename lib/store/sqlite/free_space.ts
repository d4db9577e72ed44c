/** The room that is left on the database's disk: below a mark no new messages are taken, before there is none at all. */
import { statfsSync } from "node:fs";

/** Milliseconds between two looks: between them a fast disk takes some ten MB. A look costs microseconds. */
const CHECK_INTERVAL_MS = 250;

/** What is seen at a look, when it is something else than before. */
export interface Space {
  readonly space: "low" | "enough" | "unknown";
  /** Bytes that are free; why they are not known, if so. */
  readonly free: number | string;
}

/** Looks at a disk now and then. */
export class FreeSpace {
  readonly #file: string;
  readonly #min: number;
  readonly #changed: (space: Space) => void;
  readonly #freeBytes: (file: string) => number;
  #space: Space["space"] = "enough";
  #checkedAt = -Infinity; // by performance.now

  /**
   * The disk of `file`, of which `min` bytes at least must be free; 0 for no mark. `changed` is told when it is low, has
   * enough again, or can't be looked at. `freeBytes` is another one in tests.
   */
  constructor(
    file: string,
    min: number,
    changed: (space: Space) => void,
    freeBytes: (file: string) => number = freeBytesOf,
  ) {
    this.#file = file;
    this.#min = min;
    this.#changed = changed;
    this.#freeBytes = freeBytes;
  }

  /** Whether less is free than must be. A disk that can't be looked at is not. */
  get isLow(): boolean {
    if (this.#min === 0) return false;
    const now = performance.now();
    if (now - this.#checkedAt >= CHECK_INTERVAL_MS) {
      this.#checkedAt = now;
      this.check();
    }
    return this.#space === "low";
  }

  /** Looks now. */
  check(): void {
    const found = this.#look();
    if (found.space === this.#space) return;
    this.#space = found.space;
    this.#changed(found);
  }

  #look(): Space {
    try {
      const free = this.#freeBytes(this.#file);
      return { space: free < this.#min ? "low" : "enough", free };
    } catch (error) {
      return { space: "unknown", free: (error as Error).message };
    }
  }
}

/** Bytes that this process may still write to the file's disk. */
function freeBytesOf(file: string): number {
  const { bavail, bsize } = statfsSync(file);
  return bavail * bsize;
}
