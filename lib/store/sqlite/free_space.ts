/** The free space on the database's disk: below a limit new messages are refused, before the disk is full. */
import { statfsSync } from "node:fs";

/** Milliseconds between two checks: within them some ten MB of messages may come. A check costs microseconds. */
const CHECK_INTERVAL_MS = 250;

/** The state of a disk after it has changed. */
export interface DiskSpace {
  readonly space: "low" | "enough" | "unknown";
  /** Bytes that are free; for `unknown` the error's message instead. */
  readonly free: number | string;
}

/** Checks the free space of a disk, at most once in {@link CHECK_INTERVAL_MS}. */
export class FreeSpace {
  readonly #file: string;
  readonly #minBytes: number;
  readonly #onChange: (space: DiskSpace) => void;
  readonly #freeBytes: (file: string) => number;
  #space: DiskSpace["space"] = "enough";
  #checkedAt = -Infinity; // by performance.now

  /**
   * For the disk of `file`, on which at least `min` bytes must be free; 0 for no limit. `changed` is called when the
   * state changes. Tests replace `freeBytes`.
   */
  constructor(
    file: string,
    minBytes: number,
    onChange: (space: DiskSpace) => void,
    freeBytes: (file: string) => number = freeBytesOf,
  ) {
    this.#file = file;
    this.#minBytes = minBytes;
    this.#onChange = onChange;
    this.#freeBytes = freeBytes;
  }

  /** Whether less is free than must be. False if that is unknown. */
  get isLow(): boolean {
    if (this.#minBytes === 0) return false;
    const now = performance.now();
    if (now - this.#checkedAt >= CHECK_INTERVAL_MS) {
      this.#checkedAt = now;
      this.check();
    }
    return this.#space === "low";
  }

  /** Checks the disk now. */
  check(): void {
    const found = this.#measure();
    if (found.space === this.#space) return;
    this.#space = found.space;
    this.#onChange(found);
  }

  #measure(): DiskSpace {
    try {
      const free = this.#freeBytes(this.#file);
      return { space: free < this.#minBytes ? "low" : "enough", free };
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
