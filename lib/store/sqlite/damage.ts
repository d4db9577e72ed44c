/** Detection of a damaged database by SQLite's own check. */
import type { DatabaseSync } from "node:sqlite";

/**
 * Returns the first damage in a database, in one line; undefined if there is none. Reads the whole database.
 */
export function damageIn(db: DatabaseSync): string | undefined {
  const { integrity_check: result } = db.prepare("PRAGMA integrity_check(1)").get() as {
    integrity_check: string;
  };
  if (result === "ok") return undefined;
  return result.replace(/^\*\*\*.*\n/, "").split("\n")[0]!; // the first line may be a heading
}
