/** What a database file's first bytes say, read without SQLite: it would see nothing wrong in a part of a file. */

/** The bytes of SQLite's file header. */
const HEADER_BYTES = 100;

const MAGIC = "SQLite format 3\0";

/** Of the header's read version: the file was in use with a write-ahead log, and was not closed since. */
const WAL_VERSION = 2;

/** A database file as its header describes it. */
export interface FileHeader {
  /** Bytes that the file has. */
  readonly size: number;
  /** Bytes that the file must have, unless a write-ahead log holds the rest; 0 if the header does not say. */
  readonly expected: number;
  /** How often the file's first page was changed, as SQLite counts; undefined if the file is no database. */
  readonly changes: number | undefined;
  /** Whether the file's newest data may be in a write-ahead log. */
  readonly usesWal: boolean;
}

/** Reads the header of an open file. What is no database has `expected` 0 and no write-ahead log. */
export function readHeader(file: Deno.FsFile): FileHeader {
  const { size } = file.statSync();
  const bytes = readAt(file, 0, HEADER_BYTES);
  if (!bytes || new TextDecoder().decode(bytes.subarray(0, MAGIC.length)) !== MAGIC) {
    return { size, expected: 0, changes: undefined, usesWal: false };
  }
  const view = new DataView(bytes.buffer);
  const pageSize = view.getUint16(16) === 1 ? 65_536 : view.getUint16(16);
  const isCounted = view.getUint32(24) === view.getUint32(92); // else an old SQLite wrote it, and left the count
  return {
    size,
    expected: isCounted ? view.getUint32(28) * pageSize : 0,
    changes: view.getUint32(24),
    usesWal: view.getUint8(19) === WAL_VERSION,
  };
}

/** Reads bytes at a place in an open file; gives undefined if they are not all there. */
export function readAt(
  file: Deno.FsFile,
  offset: number,
  count: number,
): Uint8Array<ArrayBuffer> | undefined {
  const bytes = new Uint8Array(count);
  file.seekSync(offset, Deno.SeekMode.Start);
  for (let at = 0; at < count;) {
    const read = file.readSync(bytes.subarray(at));
    if (!read) return undefined;
    at += read;
  }
  return bytes;
}
