/** Saves what was committed to a database whose files were removed or moved: the open ones can still be read. */
import { backup, DatabaseSync } from "node:sqlite";
import { createPrivateFile, PART_SUFFIX } from "./private_file.ts";
import { type LatestCommit, verifyDatabase } from "./newest.ts";

/** Pages of 4 KiB that are copied at a time. */
const PAGES_PER_STEP = 1_024;

/** Copies the write-ahead log into the open database file. Rejects if the file may lack anything committed. */
export function checkpointFully(db: DatabaseSync): void {
  const { busy, log, checkpointed } = db.prepare("PRAGMA wal_checkpoint(FULL)").get() as Record<
    string,
    number
  >;
  if (busy !== 0 || log !== checkpointed) throw new Error("another program is reading the database");
}

/**
 * Copies all that the open database holds into a new file. Rejects if that can't be written. Fulfilled with what is wrong,
 * in one line that names the copy, if the newest is not in it.
 */
export async function copyDatabase(
  db: DatabaseSync,
  copy: string,
  latestCommit: LatestCommit,
): Promise<string | undefined> {
  const part = copy + PART_SUFFIX;
  await createPrivateFile(part);
  try {
    await backup(db, part, { rate: PAGES_PER_STEP });
  } catch (error) {
    for (const suffix of ["", "-journal"]) await Deno.remove(part + suffix).catch(() => {}); // most often the disk is full
    throw error;
  }
  try {
    verifyCopy(part, latestCommit);
  } catch (error) {
    const incomplete = `${copy}.incomplete`;
    await Deno.rename(part, incomplete);
    return `${incomplete} is what can be read: ${(error as Error).message}`;
  }
  await Deno.rename(part, copy);
  return undefined;
}

/** Not through the connection that made it, which holds pages in memory. */
function verifyCopy(part: string, latestCommit: LatestCommit): void {
  const db = new DatabaseSync(part);
  try {
    db.exec("PRAGMA journal_mode = DELETE"); // a file that needs no write-ahead log beside it
    verifyDatabase(db, latestCommit);
  } finally {
    db.close();
  }
}
