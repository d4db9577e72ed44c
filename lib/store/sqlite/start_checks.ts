/**
 * Refuses a database with a part that is missing or lies elsewhere: opening it would lose that part silently.
 */
import { fileIdentity, isSameFile } from "./file_watch.ts";
import { type FileHeader, readHeader } from "./file_header.ts";
import { refuseForeignLog } from "./log_owner.ts";
import { refuseLost, rescuedCopyOf } from "./lost_note.ts";
import { folderOf, statIfExists } from "./private_file.ts";
import { isLogTruncated } from "./wal_probe.ts";

/**
 * Throws if the database is missing or empty and a file beside it holds messages, or if a server lost the
 * database. Returns whether a server lost it and the rescued file is in its place again.
 */
export async function refuseMissing(file: string, path: string): Promise<boolean> {
  const isRecovered = await refuseLost(file, path);
  if (await sizeOf(path) > 0) return isRecovered; // SQLite would delete the log beside an empty database
  const copy = await rescuedCopyOf(file);
  if (copy !== undefined) {
    throw new Error(
      `it is missing, and ${copy} is a copy of it: move the copy to ${file}, or move the copy away`,
    );
  }
  // An empty file with a journal is a new database: a crash interrupted its creation.
  for (const suffix of await statIfExists(path) ? ["-wal"] : ["-wal", "-journal"]) {
    const log = path + suffix;
    if (await sizeOf(log) === 0) continue;
    throw new Error(
      `${log} holds messages, but its database is missing or empty: move the database back to ${path}, ` +
        `or move ${log} away to start with a new database`,
    );
  }
  return isRecovered;
}

/**
 * Throws if the files of a database are incomplete. The write-ahead log is missing although its index exists,
 * the log is truncated, or the database file is truncated and has no log. `path` has no symbolic links.
 */
export async function refuseIncomplete(path: string, { size, expected }: FileHeader): Promise<void> {
  const [wal, shm] = [await statIfExists(`${path}-wal`), await statIfExists(`${path}-shm`)];
  if (shm && !wal) {
    throw new Error(
      `${path}-wal is missing, and may hold messages: put it back, ` +
        `or remove ${path}-shm to go on without those messages`,
    );
  }
  if (wal && shm && isLogTruncated(path)) {
    throw new Error(
      `${path}-wal is truncated: put the complete file back, ` +
        `or remove ${path}-wal and ${path}-shm to go on without its messages`,
    );
  }
  if (!wal?.size && size < expected) {
    throw new Error(`${path} is truncated: it has ${size} of ${expected} bytes; put the complete file back`);
  }
}

/**
 * Throws if it is not safe to use an open database file: it is incomplete, its write-ahead log has another
 * name, or the log belongs to another database. Returns whether the file was not closed by its server and has
 * no log: another program closed it, or it was moved without its log.
 */
export async function refuseUnsafe(path: string, open: Deno.FsFile): Promise<boolean> {
  const header = readHeader(open);
  if (header.size === 0) return false;
  await refuseForeignLog(path);
  await refuseIncomplete(path, header);
  if (!header.usesWal || await statIfExists(`${path}-wal`)) return false;
  const { nlink } = open.statSync();
  const log = await logElsewhere(path, open);
  if (log !== undefined) {
    throw new Error(
      `it was in use, and ${log} may hold its messages: rename that file to ${path}-wal, ` +
        `or move that file away if it belongs to another database`,
    );
  }
  if (nlink !== null && nlink > 1) {
    throw new Error(
      `it was in use under another name (it has ${nlink} hard links), and its -wal is beside that name: ` +
        `start with that name, or copy the file to go on without the messages in its -wal`,
    );
  }
  return true;
}

/**
 * Returns a write-ahead log in the same folder whose database is missing, or is this file under another name.
 */
async function logElsewhere(path: string, open: Deno.FsFile): Promise<string | undefined> {
  const folder = folderOf(path);
  const suffix = "-wal";
  try {
    for await (const { name } of Deno.readDir(folder || ".")) {
      if (!name.endsWith(suffix) || await sizeOf(folder + name) === 0) continue;
      const owner = await statIfExists(folder + name.slice(0, -suffix.length));
      if (!owner || isSameFile(fileIdentity(owner), fileIdentity(open.statSync()))) return folder + name;
    }
  } catch {
    // The permissions do not include the folder's list.
  }
  return undefined;
}

async function sizeOf(file: string): Promise<number> {
  return (await statIfExists(file))?.size ?? 0;
}
