/** Whether a database is damaged, as SQLite itself finds. */
import type { DatabaseSync } from "node:sqlite";

/** Returns the first damage in a database, in one line; undefined if there is none. Reads all of the database. */
export function damageIn(db: DatabaseSync): string | undefined {
  const { integrity_check: found } = db.prepare("PRAGMA integrity_check(1)").get() as {
    integrity_check: string;
  };
  if (found === "ok") return undefined;
  return found.replace(/^\*\*\*.*\n/, "").split("\n")[0]!; // the first line may be a heading
}
