/**
 * Which database a write-ahead log belongs to. The log itself does not say so, and SQLite runs any log into the file that
 * lies beside it. So a server writes it into its lock's file.
 */
import { type Identity, identityOf, isSame } from "./file_watch.ts";
import { infoOf } from "./private_file.ts";

/** Notes the log of an open database, in the lock's file beside that. */
export function recordOwner(path: string, database: Identity, wal: Identity): void {
  try {
    Deno.writeTextFileSync(`${path}.lock`, `${JSON.stringify({ database, wal })}\n`);
  } catch {
    // Where locks forbid that a locked file is written.
  }
}

/** Throws if the log beside a database is that of another one, which was replaced. */
export async function refuseForeignLog(path: string): Promise<void> {
  const [database, wal] = [await infoOf(path), await infoOf(`${path}-wal`)];
  if (!database || !wal?.size) return;
  let owner: { database: Identity; wal: Identity };
  try {
    owner = JSON.parse(await Deno.readTextFile(`${path}.lock`));
    if (!isSame(owner.wal, identityOf(wal)) || isSame(owner.database, identityOf(database))) return;
  } catch {
    return; // nothing is noted
  }
  throw new Error(
    `${path}-wal holds messages of the database that was there before: put that back, ` +
      `or move ${path}-wal away to go on with what is there now`,
  );
}
