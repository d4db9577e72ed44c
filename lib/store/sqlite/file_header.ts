/** Reads a database file's header without SQLite, which does not detect a truncated file. */

/** Size of SQLite's file header. */
const HEADER_BYTES = 100;

const MAGIC = new TextEncoder().encode("SQLite format 3\0");

/**
 * Value of the header's read version while a file is in use with a write-ahead log, and until it is closed.
 */
const WAL_VERSION = 2;

/** The content of a database file's header. */
export interface FileHeader {
  /** Size of the file, in bytes. */
  readonly size: number;
  /**
   * Size in bytes according to the header, unless a write-ahead log has the rest; 0 if the header has none.
   */
  readonly expected: number;
  /** SQLite's counter of the file's changes; undefined if the file is not a database. */
  readonly changes: number | undefined;
  /** Whether newer data may be in a write-ahead log. */
  readonly usesWal: boolean;
}

/**
 * Reads the header of an open file. A file that is not a database has `expected` 0 and no write-ahead log.
 */
export function readHeader(file: Deno.FsFile): FileHeader {
  const { size } = file.statSync();
  const bytes = readAt(file, 0, HEADER_BYTES);
  if (!bytes || !MAGIC.every((byte, i) => byte === bytes[i])) {
    return { size, expected: 0, changes: undefined, usesWal: false };
  }
  const view = new DataView(bytes.buffer);
  const pageSize = view.getUint16(16) === 1 ? 65_536 : view.getUint16(16);
  const isSizeValid = view.getUint32(24) === view.getUint32(92); // SQLite before 3.7 does not update the size
  return {
    size,
    expected: isSizeValid ? view.getUint32(28) * pageSize : 0,
    changes: view.getUint32(24),
    usesWal: view.getUint8(19) === WAL_VERSION,
  };
}

/** Reads `count` bytes at an offset of an open file; returns undefined if the file ends before. */
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
