/** The lock on a database file: at most one process may change it, by whatever name that process knows it. */
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import { folderOf, ignoreIf, PRIVATE_MODE } from "./private_file.ts";
import { refuseIncomplete, refuseMissing } from "./start_checks.ts";

/** A database file that no other process of this program may use until the lock is disposed of. */
export interface FileLock extends Disposable {
  /** The file's path without symbolic links. SQLite's other files are beside it. */
  readonly path: string;
  /** The locked file; undefined if there is none, which only {@link lockDatabaseFile} without `create` allows. */
  readonly identity: FileIdentity | undefined;
  /** Whether the file was in use, was not closed, and has no write-ahead log: commits that were in it may be missing. */
  readonly isUnclosed: boolean;
  /** Returns whether the locked file still has a name, wherever that is. */
  isLinked(): boolean;
}

/** The files that this thread holds. */
const lockedFiles = new Set<string>();

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
    const path = await resolvePath(file);
    const beside = await openLocked(holding, `${file}.lock`, true);
    if (path !== file) await lockUnlessSame(holding, `${path}.lock`, beside);
    const isRecovered = create && await refuseMissing(file, path);
    const open = await openLocked(holding, file, create).catch(
      create ? rethrow : ignoreIf(Deno.errors.NotFound),
    );
    const identity = open && fileIdentity(open.statSync());
    if (identity && !isSameFile(identity, fileIdentity(await Deno.stat(file)))) {
      throw new Error("it was replaced in this moment; try again");
    }
    const isUnclosed = create && open !== undefined && await refuseIncomplete(path, open) && !isRecovered;
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
async function openLocked(holding: DisposableStack, file: string, create: boolean): Promise<Deno.FsFile> {
  const known = await Deno.stat(file).catch(ignoreIf(Deno.errors.NotFound));
  // This must come before the file is opened: closing it again would take SQLite's locks from their holder.
  if (known && lockedFiles.has(inodeKey(known))) throw new Error(IN_USE_MESSAGE);
  const open = await Deno.open(file, { read: true, write: true, create, mode: PRIVATE_MODE });
  holding.use(open);
  const isFree = Deno.build.os === "linux" || file.endsWith(".lock") ? await open.tryLock(true) : true;
  if (!isFree) throw new Error(IN_USE_MESSAGE);
  const key = inodeKey(open.statSync());
  lockedFiles.add(key);
  holding.defer(() => lockedFiles.delete(key));
  return open;
}

/** Locks a file, unless that is the one that is locked already. */
async function lockUnlessSame(holding: DisposableStack, file: string, locked: Deno.FsFile): Promise<void> {
  const { NotFound, NotCapable } = Deno.errors;
  try {
    const known = await Deno.stat(file).catch(ignoreIf(NotFound));
    if (!known || inodeKey(known) !== inodeKey(locked.statSync())) await openLocked(holding, file, true);
  } catch (error) {
    if (!(error instanceof NotCapable)) throw error; // the permissions may end at a symbolic link
  }
}

const IN_USE_MESSAGE = "another server is using it";

function inodeKey({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}

/** Returns the path without symbolic links, also if its file does not exist. */
export async function resolvePath(file: string): Promise<string> {
  const { NotFound, NotADirectory, NotCapable } = Deno.errors;
  const path = await Deno.realPath(file).catch(ignoreIf(NotFound, NotADirectory));
  if (path !== undefined) return path;
  const isLink = await Deno.lstat(file).then(({ isSymlink }) => isSymlink, ignoreIf(NotFound, NotADirectory));
  const target = isLink ? await Deno.readLink(file).catch(ignoreIf(NotCapable)) : undefined;
  if (target === undefined) return file;
  return resolvePath(/^([/\\]|[A-Za-z]:)/.test(target) ? target : folderOf(file) + target);
}

function rethrow(error: unknown): never {
  throw error;
}
