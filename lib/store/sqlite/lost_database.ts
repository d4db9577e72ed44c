/** What is done when the files of an open database are lost: all is saved, and the log and a note say where it is. */
import type { Batcher } from "./batcher.ts";
import type { FileLock } from "./file_lock.ts";
import { type Identity, identityOf, isSame } from "./file_watch.ts";
import type { LostError } from "./lost_error.ts";
import { permittedBeside, rescueName, writeNote } from "./lost_note.ts";
import { infoOf, stamp } from "./private_file.ts";

/** The part of a log that the store writes to. */
export interface StoreLog {
  warn(event: string, fields: Record<string, string>): void;
  error(event: string, fields: Record<string, string>): void;
}

/** Where the data is now. */
interface Saved {
  readonly event: string;
  readonly action: string;
  readonly copy?: string;
  readonly whole: readonly Identity[];
}

/**
 * Says that the files are lost, and saves what was committed to them. Never rejects. Fulfilled with a function that
 * says once more where the data is.
 */
export async function saveLost(
  batcher: Batcher,
  file: string,
  lock: FileLock,
  loss: LostError,
  log: StoreLog | undefined,
): Promise<() => void> {
  const names = [file, lock.path];
  const note = { time: new Date().toISOString(), reason: loss.message, wal: loss.wal };
  const whole = lock.isLinked() && lock.identity && !loss.isCut ? [lock.identity] : [];
  // First, since the process may be killed at any time.
  const action = `look for the database with its -wal, or for a copy of it, and move it to ${file}`;
  await writeNote(names, { ...note, action, whole });
  log?.error("the database file is lost: nothing can be stored or read until a restart", {
    why: loss.message,
    action:
      "wait for the next line of the log, which says where the data is; then stop the server, put the file back",
  });
  try {
    const saved = await save(batcher, file, lock, loss);
    const { event, action, copy } = saved;
    const [written] = await writeNote(names, { ...note, ...saved });
    const fields = { ...(copy === undefined ? {} : { copy }), ...(written ? { note: written } : {}), action };
    log?.warn(event, fields);
    return () => log?.error(`the database file was lost: ${event}`, { why: loss.message, ...fields });
  } catch (error) {
    const fields = {
      why: (error as Error).message,
      action: loss.isCut
        ? "stop the server, restore a backup: what was in the file is gone"
        : `do not stop the server before /proc/${Deno.pid}/fd has been searched for the database and its -wal`,
    };
    log?.error("cannot copy the lost database", fields);
    return () => log?.error("the database file was lost, and could not be copied", fields);
  }
}

async function save(batcher: Batcher, file: string, lock: FileLock, loss: LostError): Promise<Saved> {
  const aside = `.lost-${stamp()}`;
  if (lock.isLinked() && !loss.isCut) {
    const isSaved = await batcher.rescue(aside).then(() => true, () => false);
    if (isSaved) return await inFile(file, lock);
  }
  const errors: string[] = [];
  for (const find of [() => file, () => permittedBeside(file), temporary]) {
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
    const info = await infoOf(copy);
    return {
      event: "all acknowledged data was copied",
      copy,
      action: `stop the server, move ${copy} to ${file}, start the server`,
      whole: info ? [identityOf(info)] : [],
    };
  }
  throw new Error(errors.join("; "));
}

async function inFile(file: string, { path, identity }: FileLock): Promise<Saved> {
  const here = await infoOf(path);
  const isThere = here !== undefined && identity !== undefined && isSame(identityOf(here), identity);
  const isNamed = isThere && await isSameFile(file, identity);
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

async function isSameFile(file: string, identity: Identity): Promise<boolean> {
  const info = await infoOf(file);
  return info !== undefined && isSame(identityOf(info), identity);
}

/** For when the folder is gone and nothing can be written beside it. */
async function temporary(): Promise<string | undefined> {
  const { state } = await Deno.permissions.query({ name: "write" });
  return state === "granted" ? `${await Deno.makeTempDir({ prefix: "chat-" })}/chat.db` : undefined;
}
