/**
 * Reads texts of clients as bytes. On SQLite, node:sqlite ends a TEXT at its first U+0000. On MySQL, cids are
 * bytes, because the collation utf8mb4_bin ignores trailing spaces.
 */

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Returns the text of a column of bytes, such as one that was selected as `CAST(… AS BLOB)`. */
export function textOf(column: unknown): string {
  return utf8.decode(column as Uint8Array);
}
