/** The lock on a database file: at most one process may change it, by whatever name that process knows it. */
import { type Identity, identityOf, isSame } from "./file_watch.ts";

/** Only the server's own account may read messages. SQLite gives its other files the same permissions. */
const PRIVATE_MODE = 0o600;

/** The name of a copy that the server made of a database file which was removed under it. */
const RESCUED = ".rescued-";

/** The end of the name of such a copy that is not whole yet. */
export const PART = ".part";

/** A database file that no other process of this program may use until the lock is disposed of. */
export interface FileLock extends Disposable {
  /** The file's path without symbolic links. SQLite's other files are beside it. */
  readonly path: string;
  /** The locked file; undefined if there is none, which only {@link lockDatabaseFile} without `create` allows. */
  readonly identity: Identity | undefined;
  /** Returns whether the locked file still has a name, wherever that is. */
  isLinked(): boolean;
}

/** The files that this thread holds. */
const held = new Set<string>();

/**
 * Locks a database file. Rejects with an Error of one line while a server, or another holder of the lock, has it.
 *
 * On Linux the lock is a flock(2) on the database itself. SQLite's locks are of another kind there, so other tools can
 * use the database meanwhile. Elsewhere the two kinds exclude each other. There, and for files that are about to be
 * replaced, the lock is the file `FILE.lock` beside the database.
 *
 * A process that closes a file loses SQLite's locks on it. So close all databases on `file` before the lock is
 * disposed of. `create` makes a missing file, unless the traces of an older one are beside it.
 */
export async function lockDatabaseFile(file: string, { create = false } = {}): Promise<FileLock> {
  const holding = new DisposableStack();
  try {
    const path = await resolve(file);
    const beside = await lock(holding, `${file}.lock`, true);
    if (path !== file) await lockOther(holding, `${path}.lock`, beside);
    if (create) await refuseTraces(file, path);
    const open = await lock(holding, file, create).catch(create ? rethrow : ignoreIf(Deno.errors.NotFound));
    const identity = open && identityOf(open.statSync());
    if (identity && !isSame(identity, identityOf(await Deno.stat(file)))) {
      throw new Error("it was replaced in this moment; try again");
    }
    const owned = holding.move();
    return {
      path,
      identity,
      isLinked: () => open !== undefined && open.statSync().nlink !== 0, // null where the system doesn't tell
      [Symbol.dispose]: () => owned.dispose(),
    };
  } catch (error) {
    holding.dispose();
    throw new Error(`cannot open the database ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Returns a name for a copy of the database that is free now, and is found by the next start. */
export function rescueName(file: string): string {
  return `${file}${RESCUED}${new Date().toISOString().replace(/[-:]|\.\d+/g, "")}`;
}

/** Makes a new file that only the server's account may read. */
export async function createPrivate(file: string): Promise<void> {
  (await Deno.open(file, { createNew: true, write: true, mode: PRIVATE_MODE })).close();
}

/** Opens a file and locks it. On systems without separate kinds of locks, the database itself is opened only. */
async function lock(holding: DisposableStack, file: string, create: boolean): Promise<Deno.FsFile> {
  const known = await Deno.stat(file).catch(ignoreIf(Deno.errors.NotFound));
  // This must come before the file is opened: closing it again would take SQLite's locks from their holder.
  if (known && held.has(keyOf(known))) throw new Error(IN_USE);
  const open = await Deno.open(file, { read: true, write: true, create, mode: PRIVATE_MODE });
  holding.use(open);
  const isFree = Deno.build.os === "linux" || file.endsWith(".lock") ? await open.tryLock(true) : true;
  if (!isFree) throw new Error(IN_USE);
  const key = keyOf(open.statSync());
  held.add(key);
  holding.defer(() => held.delete(key));
  return open;
}

/** Locks a file, unless that is the one that is locked already. */
async function lockOther(holding: DisposableStack, file: string, locked: Deno.FsFile): Promise<void> {
  const { NotFound, NotCapable } = Deno.errors;
  try {
    const known = await Deno.stat(file).catch(ignoreIf(NotFound));
    if (!known || keyOf(known) !== keyOf(locked.statSync())) await lock(holding, file, true);
  } catch (error) {
    if (!(error instanceof NotCapable)) throw error; // the permissions may end at a symbolic link
  }
}

const IN_USE = "another server is using it";

function keyOf({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}

/** Throws if the database is missing or empty, and what is beside it holds messages. */
async function refuseTraces(file: string, path: string): Promise<void> {
  const size = await sizeOf(path);
  if (size > 0) return; // no database with a write-ahead log is empty: SQLite would delete the log
  const copy = await rescuedCopyOf(file);
  if (copy !== undefined) {
    throw new Error(
      `it is missing, and ${copy} is a copy of it: move the copy to ${file} and remove ${path}-wal, or move both away`,
    );
  }
  const wal = `${path}-wal`;
  if (await sizeOf(wal) > 0) {
    throw new Error(
      `${wal} holds messages, but its database is missing or empty: move the database back to ${path}, ` +
        `or move ${wal} away to begin with a new database`,
    );
  }
}

async function sizeOf(file: string): Promise<number> {
  const { errors } = Deno;
  return (await Deno.stat(file).catch(ignoreIf(errors.NotFound, errors.NotCapable)))?.size ?? 0;
}

async function rescuedCopyOf(file: string): Promise<string | undefined> {
  const folder = folderOf(file);
  const prefix = file.slice(folder.length) + RESCUED;
  try {
    for await (const { name } of Deno.readDir(folder || ".")) {
      if (!name.startsWith(prefix) || name.endsWith(PART)) continue;
      if (await sizeOf(folder + name) > 0) return folder + name;
    }
  } catch {
    // A directory that can't be listed: opening the file tells more about the reason.
  }
  return undefined;
}

/** Returns the path without symbolic links, also if its file does not exist. */
async function resolve(file: string): Promise<string> {
  const { NotFound, NotADirectory, NotCapable } = Deno.errors;
  const path = await Deno.realPath(file).catch(ignoreIf(NotFound, NotADirectory));
  if (path !== undefined) return path;
  const isLink = await Deno.lstat(file).then(({ isSymlink }) => isSymlink, ignoreIf(NotFound, NotADirectory));
  const target = isLink ? await Deno.readLink(file).catch(ignoreIf(NotCapable)) : undefined;
  if (target === undefined) return file;
  return resolve(/^([/\\]|[A-Za-z]:)/.test(target) ? target : folderOf(file) + target);
}

/** Returns the folder's part of a path, with its last slash; empty if there is none. */
function folderOf(file: string): string {
  return file.replace(/[^/\\]*$/, "");
}

function rethrow(error: unknown): never {
  throw error;
}

/** Returns a handler that gives undefined for errors of these kinds, and throws others. */
function ignoreIf(...kinds: (new (...args: never[]) => Error)[]): (error: unknown) => undefined {
  return (error) => {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
    return undefined;
  };
}
