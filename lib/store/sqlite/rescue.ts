/** Saves what was committed to a database whose files were removed or moved: the open ones can still be read. */
import { backup, DatabaseSync } from "node:sqlite";
import { createPrivate, PART } from "./private_file.ts";
import { type Newest, verify } from "./newest.ts";

/** Pages of 4 KiB that are copied at a time. */
const COPY_PAGES = 1_024;

/** Copies the write-ahead log into the open database file. Rejects if the file may lack anything committed. */
export function completeFile(db: DatabaseSync): void {
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
export async function copyAll(db: DatabaseSync, copy: string, newest: Newest): Promise<string | undefined> {
  const part = copy + PART;
  await createPrivate(part);
  try {
    await backup(db, part, { rate: COPY_PAGES });
  } catch (error) {
    for (const suffix of ["", "-journal"]) await Deno.remove(part + suffix).catch(() => {}); // most often the disk is full
    throw error;
  }
  try {
    verifyCopy(part, newest);
  } catch (error) {
    const incomplete = `${copy}.incomplete`;
    await Deno.rename(part, incomplete);
    return `${incomplete} is what can be read: ${(error as Error).message}`;
  }
  await Deno.rename(part, copy);
  return undefined;
}

/** Not through the connection that made it, which holds pages in memory. */
function verifyCopy(part: string, newest: Newest): void {
  const db = new DatabaseSync(part);
  try {
    db.exec("PRAGMA journal_mode = DELETE"); // a file that needs no write-ahead log beside it
    verify(db, newest);
  } finally {
    db.close();
  }
}
