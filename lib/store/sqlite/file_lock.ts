/** The lock on a database file: at most one process may change it, by whatever name that process knows it. */
import { type Identity, identityOf, isSame } from "./file_watch.ts";
import { folderOf, ignoreIf, PRIVATE_MODE } from "./private_file.ts";
import { refuseParts, refuseTraces } from "./start_checks.ts";

/** A database file that no other process of this program may use until the lock is disposed of. */
export interface FileLock extends Disposable {
  /** The file's path without symbolic links. SQLite's other files are beside it. */
  readonly path: string;
  /** The locked file; undefined if there is none, which only {@link lockDatabaseFile} without `create` allows. */
  readonly identity: Identity | undefined;
  /** Whether the file was in use, was not closed, and has no write-ahead log: commits that were in it may be missing. */
  readonly isUnclosed: boolean;
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
 * disposed of. `create` is for a start: it makes a missing file, and refuses one of which a part lies elsewhere.
 */
export async function lockDatabaseFile(file: string, { create = false } = {}): Promise<FileLock> {
  const holding = new DisposableStack();
  try {
    const path = await resolve(file);
    const beside = await lock(holding, `${file}.lock`, true);
    if (path !== file) await lockOther(holding, `${path}.lock`, beside);
    const isBack = create && await refuseTraces(file, path);
    const open = await lock(holding, file, create).catch(create ? rethrow : ignoreIf(Deno.errors.NotFound));
    const identity = open && identityOf(open.statSync());
    if (identity && !isSame(identity, identityOf(await Deno.stat(file)))) {
      throw new Error("it was replaced in this moment; try again");
    }
    const isUnclosed = create && open !== undefined && await refuseParts(path, open) && !isBack;
    const owned = holding.move();
    return {
      path,
      identity,
      isUnclosed,
      isLinked: () => open !== undefined && open.statSync().nlink !== 0, // null where the system doesn't tell
      [Symbol.dispose]: () => owned.dispose(),
    };
  } catch (error) {
    holding.dispose();
    throw new Error(`cannot open the database ${file}: ${(error as Error).message}`, { cause: error });
  }
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

/** Returns the path without symbolic links, also if its file does not exist. */
export async function resolve(file: string): Promise<string> {
  const { NotFound, NotADirectory, NotCapable } = Deno.errors;
  const path = await Deno.realPath(file).catch(ignoreIf(NotFound, NotADirectory));
  if (path !== undefined) return path;
  const isLink = await Deno.lstat(file).then(({ isSymlink }) => isSymlink, ignoreIf(NotFound, NotADirectory));
  const target = isLink ? await Deno.readLink(file).catch(ignoreIf(NotCapable)) : undefined;
  if (target === undefined) return file;
  return resolve(/^([/\\]|[A-Za-z]:)/.test(target) ? target : folderOf(file) + target);
}

function rethrow(error: unknown): never {
  throw error;
}
