/** Detects that a write-ahead log lost written data. The format is SQLite's, "WAL-mode File Format". */
import { readAt } from "./file_header.ts";

const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const INDEX_HEADER_BYTES = 48; // the -shm begins with two copies of it

/** Attempts at reading an index that another program is writing, which takes microseconds. */
const MAX_ATTEMPTS = 3;

/** The log's description in its index, which is in shared memory. */
interface WalIndex {
  /** Number of valid frames: one page each. */
  readonly frames: number;
  /** Size of a page, in bytes. */
  readonly pageSize: number;
  /** The value that all frames share until the log restarts. */
  readonly salt: bigint;
}

/**
 * Compares a log with its index. A process that closes a -shm loses SQLite's locks on it: dispose of the
 * probe after the database is closed.
 */
export class WalProbe implements Disposable {
  readonly #wal: Deno.FsFile;
  readonly #shm: Deno.FsFile;
  #lastIndex: WalIndex | undefined;

  /** Opens the log and the index of an open database. `path` has no symbolic links. */
  constructor(path: string) {
    this.#wal = Deno.openSync(`${path}-wal`);
    this.#shm = Deno.openSync(`${path}-shm`);
  }

  /** Returns whether the log is complete. Call it after each commit: the next one fills a gap with zeros. */
  isComplete(): boolean {
    let index = this.#readIndex();
    while (index && !this.#containsAll(index)) {
      const now = this.#readIndex();
      if (now && now.frames === index.frames && now.salt === index.salt) return false;
      index = now; // the log was restarted or extended meanwhile
    }
    this.#lastIndex = index;
    return true;
  }

  [Symbol.dispose](): void {
    this.#wal.close();
    this.#shm.close();
  }

  #containsAll(index: WalIndex): boolean {
    const { frames, pageSize, salt } = index;
    if (frames === 0) return true;
    if (this.#wal.statSync().size < sizeOf(index)) return false;
    const frameBytes = FRAME_HEADER_BYTES + pageSize;
    const header = readAt(this.#wal, 0, WAL_HEADER_BYTES);
    if (!header || saltOf(header, 16) !== salt) return false;
    // The last frame of the previous check: truncation and a commit since then have left zeros in its place.
    const probed = this.#lastIndex?.salt === salt && this.#lastIndex.frames > 0
      ? this.#lastIndex.frames
      : frames;
    const frame = readAt(this.#wal, WAL_HEADER_BYTES + (probed - 1) * frameBytes, FRAME_HEADER_BYTES);
    return frame !== undefined && saltOf(frame, 8) === salt;
  }

  #readIndex(): WalIndex | undefined {
    return readIndex(this.#shm);
  }
}

/**
 * Returns whether a log is shorter than its index says. This thread must not have the database open. After a
 * power failure the index may describe an earlier log; the result is false then.
 */
export function isLogTruncated(path: string): boolean {
  using wal = Deno.openSync(`${path}-wal`);
  using shm = Deno.openSync(`${path}-shm`);
  const index = readIndex(shm);
  if (index === undefined || index.frames === 0) return false;
  const header = readAt(wal, 0, WAL_HEADER_BYTES);
  if (header && saltOf(header, 16) !== index.salt) return false;
  if (wal.statSync().size >= sizeOf(index)) return false;
  return readIndex(shm)?.salt === index.salt; // else a server has restarted the log meanwhile
}

function sizeOf({ frames, pageSize }: WalIndex): number {
  return WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + pageSize);
}

/** Reads the index; returns undefined while another program is writing it. */
function readIndex(shm: Deno.FsFile): WalIndex | undefined {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const bytes = readAt(shm, 0, 2 * INDEX_HEADER_BYTES);
    if (!bytes) continue;
    const second = bytes.subarray(INDEX_HEADER_BYTES);
    if (!second.every((byte, i) => byte === bytes[i])) continue;
    const view = new DataView(bytes.buffer);
    const pageSize = view.getUint16(14, true); // the byte order of all of Deno's platforms
    return {
      frames: view.getUint32(16, true),
      pageSize: pageSize === 1 ? 65_536 : pageSize,
      salt: saltOf(bytes, 32),
    };
  }
  return undefined;
}

function saltOf(bytes: Uint8Array<ArrayBuffer>, at: number): bigint {
  return new DataView(bytes.buffer).getBigUint64(at);
}
