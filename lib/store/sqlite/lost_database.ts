/**
 * Rescues a database whose files were lost: saves its data, and reports in the log and a note where it is.
 */
import type { Batcher } from "./batcher.ts";
import type { FileLock } from "./file_lock.ts";
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import type { DatabaseLostError } from "./lost_error.ts";
import { permittedBeside, rescueName, writeNote } from "./lost_note.ts";
import { fileTimestamp, statIfExists } from "./private_file.ts";

/** The part of the server's log that the store uses. */
export interface StoreLog {
  warn(event: string, fields: Record<string, string>): void;
  error(event: string, fields: Record<string, string>): void;
}

/** The outcome of a rescue: the place of the data. */
interface RescueResult {
  readonly event: string;
  readonly action: string;
  readonly copy?: string;
  readonly whole: readonly FileIdentity[];
}

/**
 * Logs the loss of the files, saves the data that was committed to them, and logs its place. Never rejects.
 * Returns a function that logs the outcome again.
 */
export async function rescueLostDatabase(
  batcher: Batcher,
  file: string,
  lock: FileLock,
  loss: DatabaseLostError,
  log: StoreLog | undefined,
): Promise<() => void> {
  const names = [file, lock.path];
  const note = { time: new Date().toISOString(), reason: loss.message, wal: loss.wal };
  const whole = lock.isLinked() && lock.identity && !loss.isTruncated ? [lock.identity] : [];
  // A preliminary note, because the process may be killed during the rescue.
  const action = `look for the database with its -wal, or for a copy of it, and move it to ${file}`;
  await writeNote(names, { ...note, action, whole });
  log?.error("the database file is lost: all store operations fail until a restart", {
    error: loss.message,
    action:
      "wait for the next entry, which says where the data is; then stop the server, and put the file back",
  });
  try {
    const saved = await rescue(batcher, file, lock, loss);
    const { event, action, copy } = saved;
    const [written] = await writeNote(names, { ...note, ...saved });
    const fields = { ...(copy === undefined ? {} : { copy }), ...(written ? { note: written } : {}), action };
    log?.warn(event, fields);
    return () => log?.error(`the database file was lost: ${event}`, { error: loss.message, ...fields });
  } catch (error) {
    const fields = {
      error: (error as Error).message,
      action: loss.isTruncated
        ? "stop the server, and restore a backup: the file's data is lost"
        : `do not stop the server yet: copy the database and its -wal from /proc/${Deno.pid}/fd first`,
    };
    log?.error("Cannot copy the lost database", fields);
    return () => log?.error("the database file was lost and could not be copied", fields);
  }
}

async function rescue(
  batcher: Batcher,
  file: string,
  lock: FileLock,
  loss: DatabaseLostError,
): Promise<RescueResult> {
  const aside = `.lost-${fileTimestamp()}`;
  if (lock.isLinked() && !loss.isTruncated) {
    const isSaved = await batcher.rescue(aside).then(() => true, () => false);
    if (isSaved) return await savedInFile(file, lock);
  }
  const errors: string[] = [];
  for (const find of [() => file, () => permittedBeside(file), temporaryPath]) {
    const place = await find();
    if (place === undefined) continue;
    const copy = rescueName(place);
    let problem: string | undefined;
    try {
      problem = await batcher.rescue(aside, copy);
    } catch (error) {
      errors.push((error as Error).message);
      continue;
    }
    if (problem !== undefined) throw new Error(problem); // the same in any other place
    const info = await statIfExists(copy);
    return {
      event: "all acknowledged data was copied",
      copy,
      action: `stop the server, move ${copy} to ${file}, and start the server`,
      whole: info ? [fileIdentity(info)] : [],
    };
  }
  throw new Error(errors.join("; "));
}

async function savedInFile(file: string, { path, identity }: FileLock): Promise<RescueResult> {
  const here = await statIfExists(path);
  const isThere = here !== undefined && identity !== undefined && isSameFile(fileIdentity(here), identity);
  const isNamed = isThere && await hasIdentity(file, identity);
  const action = isNamed
    ? "restart the server"
    : `stop the server, ${
      isThere ? `make ${file} a link to ${path} again` : `move the database to ${file}`
    }, and start the server`;
  return {
    event: isThere
      ? `all acknowledged data is in the database file ${path}`
      : "all acknowledged data is in the database file, which was moved",
    action,
    whole: identity ? [identity] : [],
  };
}

async function hasIdentity(file: string, identity: FileIdentity): Promise<boolean> {
  const info = await statIfExists(file);
  return info !== undefined && isSameFile(fileIdentity(info), identity);
}

/** Returns a path in a new temporary folder, if the permissions allow one: the last resort. */
async function temporaryPath(): Promise<string | undefined> {
  const { state } = await Deno.permissions.query({ name: "write" });
  return state === "granted" ? `${await Deno.makeTempDir({ prefix: "chat-" })}/chat.db` : undefined;
}
