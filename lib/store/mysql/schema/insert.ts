/** Inserts many rows by few statements of bounded length. */
import type { Db } from "./sql.ts";

/**
 * Rows, or ids, per statement. Larger statements are hardly faster: the cost per statement is negligible
 * already.
 */
const MAX_CHUNK_ROWS = 1_000;

/**
 * Characters per statement, unless one row has more: a quarter of the smallest common limit of MySQL, in
 * UTF-8.
 */
const MAX_CHUNK_LENGTH = 262_144;

/** A value of a row. */
type Value = number | string;

/** Inserts rows. `into` is a table with its columns. Rejects with the driver's error. */
export async function insertRows(
  db: Db,
  into: string,
  rows: readonly (readonly Value[])[],
): Promise<void> {
  for (const chunk of inChunks(rows, lengthOf)) await db.query(`INSERT INTO ${into} VALUES ?`, [chunk]);
}

/** Divides a list into parts that fit into one statement each. */
export function* inChunks<T>(all: readonly T[], length: (one: T) => number = () => 0): Generator<T[]> {
  let chunk: T[] = [];
  let used = 0;
  for (const one of all) {
    const more = length(one);
    if (chunk.length === MAX_CHUNK_ROWS || chunk.length > 0 && used + more > MAX_CHUNK_LENGTH) {
      yield chunk;
      chunk = [];
      used = 0;
    }
    chunk.push(one);
    used += more;
  }
  if (chunk.length > 0) yield chunk;
}

function lengthOf(row: readonly Value[]): number {
  return row.reduce<number>((sum, value) => sum + String(value).length, 0);
}
