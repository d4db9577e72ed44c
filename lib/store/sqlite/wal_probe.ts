/** Whether all that was written to a write-ahead log is still in its file. See SQLite's "WAL-mode File Format". */
import { readAt } from "./file_header.ts";

const WAL_HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
const INDEX_HEADER_BYTES = 48; // twice at the beginning of the -shm

/** Tries to read the index while another program is changing it. */
const MAX_ATTEMPTS = 3;

/** What the index in shared memory says of the log. */
interface WalIndex {
  /** Frames that count. */
  readonly frames: number;
  /** Bytes of a page. */
  readonly pageSize: number;
  /** What all frames of a generation of the log have in common. */
  readonly salt: string;
}

/**
 * Looks into a log and its index. Both stay open until the end: a process that closes a -shm loses SQLite's locks on
 * it. So dispose of this after the database is closed.
 */
export class WalProbe implements Disposable {
  readonly #wal: Deno.FsFile;
  readonly #shm: Deno.FsFile;
  #lastIndex: WalIndex | undefined;

  /** `path` is the name of an open database without symbolic links. */
  constructor(path: string) {
    this.#wal = Deno.openSync(`${path}-wal`);
    this.#shm = Deno.openSync(`${path}-shm`);
  }

  /** Whether the log has lost nothing. Call it after each commit: a later one fills a gap with zeros. */
  isComplete(): boolean {
    let index = this.#readIndex();
    while (index && !this.#containsAll(index)) {
      const now = this.#readIndex();
      if (now && now.frames === index.frames && now.salt === index.salt) return false;
      index = now; // another program emptied the log properly meanwhile
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
    // The frame that was the last one at the last look: a cut and a commit since then leave zeros in its place.
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
 * Returns whether a log has lost its end, by what its index says. For a database that no process has open: a crash leaves
 * both files as they were. After a loss of power the index may be that of an earlier log, and says nothing of this one.
 */
export function isLogTruncated(path: string): boolean {
  using wal = Deno.openSync(`${path}-wal`);
  using shm = Deno.openSync(`${path}-shm`);
  const index = readIndex(shm);
  if (index === undefined || index.frames === 0) return false;
  const header = readAt(wal, 0, WAL_HEADER_BYTES);
  if (header && saltOf(header, 16) !== index.salt) return false;
  return wal.statSync().size < sizeOf(index);
}

function sizeOf({ frames, pageSize }: WalIndex): number {
  return WAL_HEADER_BYTES + frames * (FRAME_HEADER_BYTES + pageSize);
}

/** Undefined while another program is changing it. */
function readIndex(shm: Deno.FsFile): WalIndex | undefined {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const bytes = readAt(shm, 0, 2 * INDEX_HEADER_BYTES);
    if (!bytes) continue;
    const second = bytes.subarray(INDEX_HEADER_BYTES);
    if (!second.every((byte, i) => byte === bytes[i])) continue;
    const view = new DataView(bytes.buffer);
    const pageSize = view.getUint16(14, true); // in the machine's order, little-endian wherever Deno runs
    return {
      frames: view.getUint32(16, true),
      pageSize: pageSize === 1 ? 65_536 : pageSize,
      salt: saltOf(bytes, 32),
    };
  }
  return undefined;
}

function saltOf(bytes: Uint8Array, at: number): string {
  return bytes.subarray(at, at + 8).join(" ");
}
