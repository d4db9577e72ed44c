/** Reads texts of clients as BLOBs: node:sqlite ends a TEXT at its first U+0000. */

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Returns the text of a column that was selected as `CAST(… AS BLOB)`. */
export function textOf(column: unknown): string {
  return utf8.decode(column as Uint8Array);
}
