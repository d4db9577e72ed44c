/** Texts that clients have written: read as BLOBs, since as TEXT they would end at the first U+0000 in them. */

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** What a column holds that was selected as `CAST(… AS BLOB)`. */
export function textOf(column: unknown): string {
  return utf8.decode(column as Uint8Array);
}
