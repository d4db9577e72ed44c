/** Saves the committed data of a lost database: its files are still open, and readable without a name. */
import { backup, DatabaseSync } from "node:sqlite";
import { createPrivateFile, PART_SUFFIX } from "./private_file.ts";
import { type LatestCommit, verifyDatabase } from "./newest.ts";

/** Pages of 4 KiB per step of the copy: 4 MiB, which takes milliseconds. */
const PAGES_PER_STEP = 1_024;

/** Copies the whole write-ahead log into the open database file. Throws if a part cannot be copied. */
export function checkpointFully(db: DatabaseSync): void {
  const { busy, log, checkpointed } = db.prepare("PRAGMA wal_checkpoint(FULL)").get() as Record<
    string,
    number
  >;
  if (busy !== 0 || log !== checkpointed) throw new Error("another program is reading the database");
}

/**
 * Copies the open database into the new file `copy`. Returns undefined if the copy has the latest commit;
 * otherwise its defect, in one line that names the incomplete copy. Rejects if the copy cannot be written.
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
    for (const suffix of ["", "-journal"]) await Deno.remove(part + suffix).catch(() => {});
    throw error;
  }
  try {
    verifyCopy(part, latestCommit);
  } catch (error) {
    const incomplete = `${copy}.incomplete`;
    await Deno.rename(part, incomplete);
    return `${incomplete} has the readable part of the database: ${(error as Error).message}`;
  }
  await Deno.rename(part, copy);
  return undefined;
}

/** Verifies a copy through a new connection, which has no pages in memory. */
function verifyCopy(part: string, latestCommit: LatestCommit): void {
  const db = new DatabaseSync(part);
  try {
    db.exec("PRAGMA journal_mode = DELETE"); // so that the file needs no write-ahead log
    verifyDatabase(db, latestCommit);
  } finally {
    db.close();
  }
}
