/** Copying the embedded database, and putting a copy back in its place. */
import { DatabaseSync } from "node:sqlite";
import { newId } from "../new_id.ts";
import { damageIn } from "./damage.ts";
import { NO_TABLES_MESSAGE, oneLine, openDatabase, versionOf } from "./database.ts";
import { readHeader } from "./file_header.ts";
import { lockDatabaseFile, resolvePath } from "./file_lock.ts";
import { COMPANION_SUFFIXES } from "./file_watch.ts";
import { removeNotes } from "./lost_note.ts";
import {
  createPrivateFile,
  fileTimestamp,
  folderOf,
  ignoreIf,
  PART_SUFFIX,
  PRIVATE_MODE,
  statIfExists,
} from "./private_file.ts";

/** ms to wait for a server that is committing. */
const BUSY_TIMEOUT_MS = 5_000;

/** SQLite's files beside one that is being made. */
const PART_FILE_SUFFIXES = ["", "-wal", "-shm", "-journal"];

/**
 * Writes a copy of the database in `file` to `copy`, which must not be there yet. A server may be using the database:
 * the copy has all that was committed when it began. Rejects with an Error of one line.
 */
export async function backup(file: string, copy: string): Promise<void> {
  const part = `${copy}.${newId()}${PART_SUFFIX}`; // several may run at once
  try {
    const folder = folderOf(copy);
    if (folder && !await statIfExists(folder)) throw new Error(`there is no folder ${folder}`);
    if (await statIfExists(copy)) throw new Error(`${copy} is there already`);
    await requireComplete(file, "it");
    await createPrivateFile(part);
    const db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS, readOnly: true });
    try {
      if (versionOf(db) === 0) throw new Error(NO_TABLES_MESSAGE);
      db.prepare("VACUUM INTO ?").run(part);
    } finally {
      db.close();
    }
    if (await statIfExists(copy)) throw new Error(`${copy} is there already`); // from one that ran at the same time
    await syncFile(part);
    await renameDurably(part, copy);
  } catch (error) {
    await removeLeftovers(part);
    throw new Error(`Cannot back up ${file}: ${oneLine(error)}`, { cause: error });
  }
}

/** What a restore has done. */
export interface RestoreResult {
  /** The store's epoch from now on. */
  readonly epoch: string;
  /** Where the database is now that was there before, if one was. */
  readonly replaced: string | undefined;
}

/**
 * Puts a copy that {@link backup} has made, or a database with its -wal beside it, in the place of `file`, and renews the
 * store's epoch. The file has the owner and the permissions of the one that was there; that one is renamed, not
 * deleted. A symbolic link stays one. Rejects with an Error of one line if a server is using the file or the copy is
 * damaged; then nothing has changed.
 */
export async function restore(copy: string, file: string): Promise<RestoreResult> {
  const path = await resolvePath(file);
  const part = path + PART_SUFFIX;
  let isOurs = false; // what has the part's name
  try {
    await requireComplete(copy, "the copy");
    using _lock = await lockDatabaseFile(path);
    const there = await statIfExists(path);
    isOurs = true;
    await removeLeftovers(part);
    await copyFiles(await Deno.realPath(copy), part, there);
    const epoch = prepareCopy(part);
    await copyOwner([part, `${path}.lock`], path, there);
    await syncFile(part); // before the database is moved: a disk that is full or broken says so here, after minutes maybe
    const replaced = await moveExisting(path);
    await renameDurably(part, path);
    await removeNotes(file, path);
    return { epoch, replaced };
  } catch (error) {
    if (isOurs) await removeLeftovers(part);
    throw new Error(`Cannot restore ${file} from ${copy}: ${oneLine(error)}`, { cause: error });
  }
}

/** Throws if a database is missing or empty, or a part of it lies elsewhere. */
async function requireComplete(file: string, what: string): Promise<void> {
  if (!await statIfExists(file)) throw new Error("there is no such file");
  const path = await Deno.realPath(file);
  using open = await Deno.open(path);
  const { size, expected } = readHeader(open);
  if (size === 0) throw new Error(`${what} is empty`);
  const [wal, shm] = [await statIfExists(`${path}-wal`), await statIfExists(`${path}-shm`)];
  if (shm && !wal) {
    throw new Error(`${path}-wal is missing, and may hold messages; without ${path}-shm it is not missed`);
  }
  if (!wal?.size && size < expected) {
    throw new Error(`${what} is cut off: ${size} of ${expected} bytes are there`);
  }
}

/** Copies a database, and its write-ahead log if there is one. No server may be writing to them. */
async function copyFiles(source: string, part: string, there: Deno.FileInfo | undefined): Promise<void> {
  const hasLog = ((await statIfExists(`${source}-wal`))?.size ?? 0) > 0;
  using open = await Deno.open(source);
  const { dev, ino } = open.statSync();
  const isLocked = there?.dev === dev && there.ino === ino; // by us
  if (hasLog && Deno.build.os === "linux" && !isLocked && !await open.tryLock(false)) {
    throw new Error("a server is using the copy: make a backup of it first");
  }
  for (const suffix of hasLog ? ["", "-wal"] : [""]) {
    await createPrivateFile(part + suffix);
    await Deno.copyFile(source + suffix, part + suffix);
    await Deno.chmod(part + suffix, PRIVATE_MODE);
  }
}

/** Verifies a copy, brings it up to date, and gives it a new epoch. */
function prepareCopy(part: string): string {
  const copy = new DatabaseSync(part);
  try {
    if (versionOf(copy) === 0) {
      throw new Error(
        "the copy holds no tables: if a server was using it, its data was in a -wal, which is not beside it",
      );
    }
    const damage = damageIn(copy);
    if (damage !== undefined) throw new Error(`the copy is damaged: ${damage}`);
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

/** Gives files the owner of the database that was there, or of its folder, so that the server's account can use them. */
async function copyOwner(files: string[], path: string, there: Deno.FileInfo | undefined): Promise<void> {
  const model = there ?? await statIfExists(folderOf(path) || ".");
  const { uid, gid } = model ?? {};
  for (const file of files) {
    if (there?.mode) await Deno.chmod(file, there.mode & 0o777);
    const own = await statIfExists(file);
    if (uid == null || gid == null || (own?.uid === uid && own.gid === gid)) continue;
    try {
      await Deno.chown(file, uid, gid);
    } catch (error) {
      if (there) {
        throw new Error(`cannot give ${file} the owner of ${path}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
  }
}

/**
 * Renames what is there. The database first: were only its write-ahead log moved when the machine stops, a start would
 * miss commits without a word. A log without its database is an error at the start. Returns the database's new name.
 */
async function moveExisting(path: string): Promise<string | undefined> {
  const now = `${path}.before-${fileTimestamp()}`;
  let replaced = now;
  for (let n = 2; await statIfExists(replaced) || await statIfExists(`${replaced}-wal`); n++) {
    replaced = `${now}-${n}`;
  }
  const isThere = await statIfExists(path) !== undefined;
  if (isThere) await Deno.rename(path, replaced);
  for (const suffix of COMPANION_SUFFIXES) {
    await Deno.rename(path + suffix, replaced + suffix).catch(ignoreIf(Deno.errors.NotFound));
  }
  return isThere ? replaced : undefined;
}

/** Has the disk take a file. */
async function syncFile(part: string): Promise<void> {
  using written = await Deno.open(part, { read: true, write: true });
  await written.sync();
}

/** Gives a file its name, also on the disk. */
async function renameDurably(part: string, name: string): Promise<void> {
  await Deno.rename(part, name);
  using folder = await Deno.open(folderOf(name) || ".", { read: true });
  await folder.sync();
}

async function removeLeftovers(part: string): Promise<void> {
  for (const suffix of PART_FILE_SUFFIXES) {
    await Deno.remove(part + suffix).catch(ignoreIf(Deno.errors.NotFound));
  }
}
