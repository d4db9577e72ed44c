/** Many rows in few statements, none of which is too long for the database. */
import type { Db } from "./sql.ts";

/** Rows, or ids, of one statement. More would hardly be faster: what a statement costs by itself is spread already. */
const MAX_CHUNK_ROWS = 1_000;

/** Characters of text in one statement, unless one row has more: a quarter of MySQL's smallest usual limit in UTF-8. */
const MAX_CHUNK_LENGTH = 262_144;

/** A value of a row. */
type Value = number | string;

/** Inserts rows into a table, which is given with its columns. Rejects with the driver's error. */
export async function insertRows(
  db: Db,
  into: string,
  rows: readonly (readonly Value[])[],
): Promise<void> {
  for (const chunk of inChunks(rows, lengthOf)) await db.query(`INSERT INTO ${into} VALUES ?`, [chunk]);
}

/** Cuts a list into pieces that fit into a statement each. */
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
