/** What a start refuses: a database of which a part lies elsewhere. To go on would lose that part without a word. */
import { fileIdentity, isSameFile } from "./file_watch.ts";
import { readHeader } from "./file_header.ts";
import { refuseForeignLog } from "./log_owner.ts";
import { refuseLost, rescuedCopyOf } from "./lost_note.ts";
import { folderOf, statIfExists } from "./private_file.ts";
import { isLogTruncated } from "./wal_probe.ts";

/**
 * Throws if the database is missing or empty, and what is beside it holds messages, or if a server lost it. Returns
 * whether a server lost it, and all that was saved is in its place again.
 */
export async function refuseMissing(file: string, path: string): Promise<boolean> {
  const isRecovered = await refuseLost(file, path);
  if (await sizeOf(path) > 0) return isRecovered; // no database with a write-ahead log is empty: SQLite would delete the log
  const copy = await rescuedCopyOf(file);
  if (copy !== undefined) {
    throw new Error(
      `it is missing, and ${copy} is a copy of it: move the copy to ${file}, or move the copy away`,
    );
  }
  // An empty file with a journal is a new database whose making was interrupted.
  for (const suffix of await statIfExists(path) ? ["-wal"] : ["-wal", "-journal"]) {
    const log = path + suffix;
    if (await sizeOf(log) === 0) continue;
    throw new Error(
      `${log} holds messages, but its database is missing or empty: move the database back to ${path}, ` +
        `or move ${log} away to begin with a new database`,
    );
  }
  return isRecovered;
}

/**
 * Throws if an open database, or its write-ahead log, is not whole. Returns whether it was in use, was not closed, and
 * has no log beside it: then another program has closed it, or it was moved without its log.
 */
export async function refuseIncomplete(path: string, open: Deno.FsFile): Promise<boolean> {
  const { size, expected, usesWal } = readHeader(open);
  if (size === 0) return false;
  await refuseForeignLog(path);
  const [wal, shm] = [await statIfExists(`${path}-wal`), await statIfExists(`${path}-shm`)];
  if (shm && !wal) {
    throw new Error(
      `${path}-wal is missing, and may hold messages: put it back, ` +
        `or remove ${path}-shm to go on without what was in it`,
    );
  }
  if (wal && shm && isLogTruncated(path)) {
    throw new Error(
      `${path}-wal was cut off: put it back as it was, ` +
        `or remove ${path}-wal and ${path}-shm to go on without what was in it`,
    );
  }
  if (!wal?.size && size < expected) {
    throw new Error(`it was cut off: ${size} of ${expected} bytes are there`);
  }
  if (!usesWal || wal) return false;
  const { nlink } = open.statSync();
  const log = await logElsewhere(path, open);
  if (log !== undefined) {
    throw new Error(
      `it was in use, and ${log} may hold messages of it: rename that to ${path}-wal, ` +
        `or move it away if it belongs to another database`,
    );
  }
  if (nlink !== null && nlink > 1) {
    throw new Error(
      `it was in use under another name (it has ${nlink} hard links), beside which its -wal is: start it by that name, ` +
        `or copy the file to go on without what is in its -wal`,
    );
  }
  return true;
}

/** Returns a write-ahead log in the same folder whose database is missing, or is this file under another name. */
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
    // A folder that can't be listed.
  }
  return undefined;
}

async function sizeOf(file: string): Promise<number> {
  return (await statIfExists(file))?.size ?? 0;
}
