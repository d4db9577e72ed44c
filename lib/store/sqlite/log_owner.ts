/**
 * Which database a write-ahead log belongs to. The log itself does not say so, and SQLite runs any log into the file that
 * lies beside it. So a server writes it into its lock's file.
 */
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import { statIfExists } from "./private_file.ts";

/** Notes the log of an open database, in the lock's file beside that. */
export function recordOwner(path: string, database: FileIdentity, wal: FileIdentity): void {
  try {
    Deno.writeTextFileSync(`${path}.lock`, `${JSON.stringify({ database, wal })}\n`);
  } catch {
    // Where locks forbid that a locked file is written.
  }
}

/** Throws if the log beside a database is that of another one, which was replaced. */
export async function refuseForeignLog(path: string): Promise<void> {
  const [database, wal] = [await statIfExists(path), await statIfExists(`${path}-wal`)];
  if (!database || !wal?.size) return;
  let owner: { database: FileIdentity; wal: FileIdentity };
  try {
    owner = JSON.parse(await Deno.readTextFile(`${path}.lock`));
    if (!isSameFile(owner.wal, fileIdentity(wal)) || isSameFile(owner.database, fileIdentity(database))) {
      return;
    }
  } catch {
    return; // nothing is noted
  }
  throw new Error(
    `${path}-wal holds messages of the database that was there before: put that back, ` +
      `or move ${path}-wal away to go on with what is there now`,
  );
}
