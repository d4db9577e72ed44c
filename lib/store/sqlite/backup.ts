/** Copying the embedded database, and putting a copy back in its place. */
import { DatabaseSync } from "node:sqlite";
import { newId } from "../new_id.ts";
import { openDatabase, versionOf } from "./database.ts";
import { lockDatabaseFile } from "./file_lock.ts";

/** SQLite keeps these beside a database file; each belongs to that very file. */
const COMPANIONS = ["-wal", "-shm"];

/** ms to wait for a server that is committing. */
const BUSY_TIMEOUT_MS = 5_000;

/**
 * Writes a copy of the database in `file` to `copy`, which must not be there yet. A server may be using the database:
 * the copy has all that was committed when it began. Rejects with an Error of one line.
 */
export async function backup(file: string, copy: string): Promise<void> {
  const part = `${copy}.part`;
  try {
    if (await exists(copy)) throw new Error(`${copy} is there already`);
    if (!await exists(file)) throw new Error("there is no such file");
    await remove(part);
    const db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS, readOnly: true });
    try {
      if (versionOf(db) === 0) throw new Error("it is empty");
      db.prepare("VACUUM INTO ?").run(part);
    } finally {
      db.close();
    }
    await settle(part, copy);
  } catch (error) {
    await remove(part);
    throw new Error(`Cannot back up ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** What a restore has done. */
export interface Restored {
  /** The store's epoch from now on. */
  readonly epoch: string;
  /** Where the database is now that was there before, if one was. */
  readonly replaced: string | undefined;
}

/**
 * Puts a copy that {@link backup} has made in the place of `file`, and renews the store's epoch. What was there is
 * renamed, not deleted. Rejects with an Error of one line if a server is using the file or the copy is damaged; then
 * nothing has changed.
 */
export async function restore(copy: string, file: string): Promise<Restored> {
  const part = `${file}.part`;
  try {
    if (!await exists(copy)) throw new Error("there is no such file");
    const there = await exists(file);
    using _lock = there ? await lockDatabaseFile(file) : undefined;
    await remove(part);
    await Deno.copyFile(copy, part);
    await Deno.chmod(part, 0o600);
    const epoch = check(part);
    const replaced = there ? await moveAway(file) : undefined;
    for (const companion of COMPANIONS) await remove(`${file}${companion}`); // of a database that is gone
    await settle(part, file);
    return { epoch, replaced };
  } catch (error) {
    for (const name of ["", ...COMPANIONS]) await remove(`${part}${name}`);
    throw new Error(`Cannot restore ${file} from ${copy}: ${(error as Error).message}`, { cause: error });
  }
}

/** Verifies a copy, brings it up to date, and gives it a new epoch. */
function check(part: string): string {
  const copy = new DatabaseSync(part);
  try {
    if (versionOf(copy) === 0) throw new Error("the copy is empty");
    const { integrity_check: found } = copy.prepare("PRAGMA integrity_check").get() as {
      integrity_check: string;
    };
    if (found !== "ok") throw new Error(`the copy is damaged: ${found}`);
  } finally {
    copy.close();
  }
  const db = openDatabase(part);
  try {
    const epoch = newId();
    db.prepare("UPDATE StoreIdentity SET epoch = ?").run(epoch);
    db.exec(
      "UPDATE User SET state = 'offline'; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE",
    );
    return epoch;
  } finally {
    db.close();
  }
}

/**
 * The database first: were only its write-ahead log moved when the machine stops, a start would miss commits without
 * a word. A log without its database is an error at the start.
 */
async function moveAway(file: string): Promise<string> {
  const replaced = `${file}.before-${new Date().toISOString().replace(/\D/g, "").slice(0, 14)}`;
  if (await exists(replaced)) throw new Error(`${replaced} is there already`);
  await Deno.rename(file, replaced);
  for (const companion of COMPANIONS) {
    if (await exists(`${file}${companion}`)) {
      await Deno.rename(`${file}${companion}`, `${replaced}${companion}`);
    }
  }
  return replaced;
}

/** Has the disk take a file, and gives it its name. */
async function settle(part: string, name: string): Promise<void> {
  {
    using written = await Deno.open(part, { read: true, write: true });
    await written.sync();
  }
  await Deno.rename(part, name);
  using folder = await Deno.open(name.replace(/[^/]*$/, "") || ".", { read: true });
  await folder.sync();
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
