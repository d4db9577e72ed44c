/**
 * The free space on the database's disk: below a limit, new messages are rejected before the disk is full.
 */
import { statfsSync } from "node:fs";

/** Interval of checks, in which about 10 MB of messages can arrive. A check costs microseconds. */
const CHECK_INTERVAL_MS = 250;

/** A change of a disk's state. */
export interface DiskSpace {
  readonly space: "low" | "enough" | "unknown";
  /** Free space in bytes; the error's message if the space is unknown. */
  readonly free: number | string;
}

/** The free space of a disk, read at most once per {@link CHECK_INTERVAL_MS}. */
export class FreeSpace {
  readonly #file: string;
  readonly #minBytes: number;
  readonly #onChange: (space: DiskSpace) => void;
  readonly #freeBytes: (file: string) => number;
  #space: DiskSpace["space"] = "enough";
  #checkedAt = -Infinity; // by performance.now()

  /**
   * Watches the disk of `file`, on which at least `minBytes` must be free; 0 means no limit. `onChange` is
   * called when the state changes. Tests set `freeBytes`.
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

  /** Whether the free space is below the limit; false if it is unknown. */
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
    const measured = this.#measure();
    if (measured.space === this.#space) return;
    this.#space = measured.space;
    this.#onChange(measured);
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

/** Returns the bytes that this process may still write to the file's disk. */
function freeBytesOf(file: string): number {
  const { bavail, bsize } = statfsSync(file);
  return bavail * bsize;
}
