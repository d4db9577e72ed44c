/** What is done when the files of an open database are lost: all is saved, and the log and a note say where it is. */
import type { Batcher } from "./batcher.ts";
import type { FileLock } from "./file_lock.ts";
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import type { DatabaseLostError } from "./lost_error.ts";
import { permittedBeside, rescueName, writeNote } from "./lost_note.ts";
import { fileTimestamp, statIfExists } from "./private_file.ts";

/** The part of a log that the store writes to. */
export interface StoreLog {
  warn(event: string, fields: Record<string, string>): void;
  error(event: string, fields: Record<string, string>): void;
}

/** Where the data is now. */
interface RescueResult {
  readonly event: string;
  readonly action: string;
  readonly copy?: string;
  readonly whole: readonly FileIdentity[];
}

/**
 * Says that the files are lost, and saves what was committed to them. Never rejects. Fulfilled with a function that
 * says once more where the data is.
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
  // First, since the process may be killed at any time.
  const action = `look for the database with its -wal, or for a copy of it, and move it to ${file}`;
  await writeNote(names, { ...note, action, whole });
  log?.error("the database file is lost: nothing can be stored or read until a restart", {
    error: loss.message,
    action:
      "wait for the next line of the log, which says where the data is; then stop the server, put the file back",
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
        ? "stop the server, restore a backup: what was in the file is gone"
        : `do not stop the server before /proc/${Deno.pid}/fd has been searched for the database and its -wal`,
    };
    log?.error("cannot copy the lost database", fields);
    return () => log?.error("the database file was lost, and could not be copied", fields);
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
    if (problem !== undefined) throw new Error(problem); // it would be the same in any other place
    const info = await statIfExists(copy);
    return {
      event: "all acknowledged data was copied",
      copy,
      action: `stop the server, move ${copy} to ${file}, start the server`,
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
      isThere ? `let ${file} be ${path} again` : `move the database to ${file}`
    }, start the server`;
  return {
    event: isThere
      ? `all acknowledged data is in the database file ${path}`
      : "all acknowledged data is in the database file, where that is now",
    action,
    whole: identity ? [identity] : [],
  };
}

async function hasIdentity(file: string, identity: FileIdentity): Promise<boolean> {
  const info = await statIfExists(file);
  return info !== undefined && isSameFile(fileIdentity(info), identity);
}

/** For when the folder is gone and nothing can be written beside it. */
async function temporaryPath(): Promise<string | undefined> {
  const { state } = await Deno.permissions.query({ name: "write" });
  return state === "granted" ? `${await Deno.makeTempDir({ prefix: "chat-" })}/chat.db` : undefined;
}
