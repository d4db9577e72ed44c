/** Saves what was committed to a database whose files were removed or moved: the open ones can still be read. */
import { backup, type DatabaseSync } from "node:sqlite";
import { createPrivate, PART } from "./file_lock.ts";

/** Pages of 4 KiB that are copied at a time. */
const COPY_PAGES = 1_024;

/**
 * Copies the write-ahead log into the open database file, and with `copy` all of it into a new file of that name.
 * Rejects if anything committed may be in neither.
 */
export async function rescue(db: DatabaseSync, copy?: string): Promise<void> {
  // Without a result that counts when all is copied into another file: a database that is moved should be whole, too.
  const { busy, log, checkpointed } = db.prepare("PRAGMA wal_checkpoint(FULL)").get() as Record<
    string,
    number
  >;
  if (copy === undefined) {
    if (busy !== 0 || log !== checkpointed) throw new Error("another program is reading the database");
    return;
  }
  const part = copy + PART;
  await createPrivate(part);
  try {
    await backup(db, part, { rate: COPY_PAGES });
    await Deno.rename(part, copy);
  } catch (error) {
    await Deno.remove(part).catch(() => {}); // most often the disk is full
    throw error;
  }
}
