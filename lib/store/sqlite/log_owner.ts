/**
 * The record of the database that a write-ahead log belongs to, in the server's lock file. The log itself has
 * no such record, and SQLite applies any log to the database beside it.
 */
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import { statIfExists } from "./private_file.ts";

/** Records the log of an open database in the lock file beside it. */
export function recordOwner(path: string, database: FileIdentity, wal: FileIdentity): void {
  try {
    Deno.writeTextFileSync(`${path}.lock`, `${JSON.stringify({ database, wal })}\n`);
  } catch {
    // On Windows a locked file is not writable.
  }
}

/** Throws if the log beside a database belongs to a previous database that was replaced. */
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
    return; // no record
  }
  throw new Error(
    `${path}-wal holds messages of the database that was replaced: put that database back, ` +
      `or move ${path}-wal away to go on with the current one`,
  );
}
