/** Backup and restore of the embedded database: the commands of the same names. */
import { DatabaseSync } from "node:sqlite";
import { newId } from "../../new_id.ts";
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
import { refuseIncomplete } from "./start_checks.ts";

/** Wait for the lock of a server that commits; a commit takes far less than a second on any disk. */
const BUSY_TIMEOUT_MS = 5_000;

/** Suffixes of the files that SQLite creates beside an unfinished copy. */
const PART_FILE_SUFFIXES = ["", "-wal", "-shm", "-journal"];

/**
 * Writes a copy of the database in `file` to the new file `copy`. A server may use the database meanwhile:
 * the copy holds every transaction that was committed at its beginning. Rejects with an Error of one line.
 */
export async function backup(file: string, copy: string): Promise<void> {
  const part = `${copy}.${newId()}${PART_SUFFIX}`; // random: several backups may run at once
  try {
    const folder = folderOf(copy);
    if (folder && !await statIfExists(folder)) {
      throw new Error(`the folder ${folder} does not exist: create it`);
    }
    await refuseExisting(copy);
    await refuseUnusable(file);
    await createPrivateFile(part);
    const db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS, readOnly: true });
    try {
      if (versionOf(db) === 0) throw new Error(NO_TABLES_MESSAGE);
      db.prepare("VACUUM INTO ?").run(part);
    } finally {
      db.close();
    }
    await refuseExisting(copy); // another backup may have created it meanwhile
    await syncFile(part);
    await renameDurably(part, copy);
  } catch (error) {
    await removeLeftovers(part);
    throw new Error(`Cannot back up ${file}: ${oneLine(error)}`, { cause: error });
  }
}

/** The outcome of a restore. */
export interface RestoreResult {
  /** The store's new epoch. */
  readonly epoch: string;
  /** The new name of the previous database, if there was one. */
  readonly replaced: string | undefined;
}

/**
 * Replaces the database `file` with a copy, and renews the store's epoch. The copy is a file that
 * {@link backup} wrote, or a database with its -wal beside it. The previous database is renamed, and the new
 * file gets its owner and its permissions. A symbolic link stays a symbolic link. Rejects with an Error of
 * one line if a server uses the file or the copy is damaged, and then changes nothing.
 */
export async function restore(copy: string, file: string): Promise<RestoreResult> {
  const path = await resolvePath(file);
  const part = path + PART_SUFFIX;
  let isOurs = false; // whether this call may remove the file `part`
  try {
    await refuseUnusable(copy);
    using _lock = await lockDatabaseFile(path);
    const there = await statIfExists(path);
    isOurs = true;
    await removeLeftovers(part);
    await copyFiles(await Deno.realPath(copy), part, there);
    const epoch = prepareCopy(part);
    await copyOwner([part, `${path}.lock`], path, there);
    await syncFile(part); // before the database is moved: a full or broken disk fails here
    const replaced = await moveExisting(path);
    await renameDurably(part, path);
    await removeNotes(file, path);
    return { epoch, replaced };
  } catch (error) {
    if (isOurs) await removeLeftovers(part);
    throw new Error(`Cannot restore ${file} from ${copy}: ${oneLine(error)}`, { cause: error });
  }
}

async function refuseExisting(copy: string): Promise<void> {
  if (await statIfExists(copy)) throw new Error(`${copy} exists: choose another name`);
}

/** Throws if a database is missing, empty or incomplete. */
async function refuseUnusable(file: string): Promise<void> {
  if (!await statIfExists(file)) throw new Error(`${file} does not exist`);
  const path = await Deno.realPath(file);
  using open = await Deno.open(path);
  const header = readHeader(open);
  if (header.size === 0) throw new Error(`${file} is empty`);
  await refuseIncomplete(path, header);
}

/** Copies a database, and its write-ahead log if there is one. Throws if a server uses the database. */
async function copyFiles(source: string, part: string, there: Deno.FileInfo | undefined): Promise<void> {
  const hasLog = ((await statIfExists(`${source}-wal`))?.size ?? 0) > 0;
  using open = await Deno.open(source);
  const { dev, ino } = open.statSync();
  const isLocked = there?.dev === dev && there.ino === ino; // restore() holds the lock
  if (hasLog && Deno.build.os === "linux" && !isLocked && !await open.tryLock(false)) {
    throw new Error(`a server is using ${source}: make a backup of it, and restore that`);
  }
  for (const suffix of hasLog ? ["", "-wal"] : [""]) {
    await createPrivateFile(part + suffix);
    await Deno.copyFile(source + suffix, part + suffix);
    await Deno.chmod(part + suffix, PRIVATE_MODE);
  }
}

/** Verifies a copy, upgrades its schema, and renews its epoch. Returns the new epoch. */
function prepareCopy(part: string): string {
  const copy = new DatabaseSync(part);
  try {
    if (versionOf(copy) === 0) {
      throw new Error(
        "the copy has no tables: if a server used it, put its -wal, which has the tables, beside it",
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

/** Gives files the owner and the permissions of the previous database, or the owner of its folder. */
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
        throw new Error(`Cannot give ${file} the owner of ${path}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
  }
}

/**
 * Renames the previous database, then its write-ahead log. A crash between the two leaves a log without a
 * database, which a start refuses. The other order would leave a database without its last commits. Returns
 * the new name.
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

/** Writes a file through to the disk. */
async function syncFile(part: string): Promise<void> {
  using written = await Deno.open(part, { read: true, write: true });
  await written.sync();
}

/** Renames a file, and writes the new name through to the disk. */
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
