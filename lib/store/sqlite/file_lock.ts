/** The lock on a database file: at most one server process may use the file, under any of its names. */
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import { folderOf, ignoreIf, PRIVATE_MODE } from "./private_file.ts";
import { refuseMissing, refuseUnsafe } from "./start_checks.ts";

/** A lock that keeps other servers from using a database file until it is disposed of. */
export interface FileLock extends Disposable {
  /** The file's path without symbolic links. SQLite's other files are beside it. */
  readonly path: string;
  /** The locked file; undefined if it does not exist, which is possible without `create` only. */
  readonly identity: FileIdentity | undefined;
  /** Whether the file was not closed and has no write-ahead log: its last commits may be missing. */
  readonly isUnclosed: boolean;
  /** Returns whether the locked file still has a name in any folder. */
  isLinked(): boolean;
}

/** The files that this thread has locked, by {@link inodeKey}. */
const lockedFiles = new Set<string>();

/**
 * Locks a database file. Rejects with an Error of one line while another process or another lock uses the
 * file. With `create`, as at a start, it creates a missing file and refuses an incomplete one.
 *
 * On Linux the lock is a flock(2) on the database itself. SQLite uses locks of another kind there, so that
 * other tools can read the database meanwhile. On other systems the two kinds exclude each other. On those,
 * and for a file that is about to be replaced, the lock is on `FILE.lock` beside the database.
 *
 * A process that closes any descriptor of a file loses SQLite's locks on it. Close all databases on `file`
 * before disposing of the lock.
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
      throw new Error("another program replaced it during the start: start again");
    }
    const isUnclosed = create && open !== undefined && await refuseUnsafe(path, open) && !isRecovered;
    const owned = holding.move();
    return {
      path,
      identity,
      isUnclosed,
      isLinked: () => open !== undefined && open.statSync().nlink !== 0, // null on Windows
      [Symbol.dispose]: () => owned.dispose(),
    };
  } catch (error) {
    holding.dispose();
    throw new Error(`Cannot open the database ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Opens a file and locks it. Outside Linux the database itself is opened without a lock. */
async function openLocked(holding: DisposableStack, file: string, create: boolean): Promise<Deno.FsFile> {
  const known = await Deno.stat(file).catch(ignoreIf(Deno.errors.NotFound));
  // Checked before the file is opened: closing it again would release the locks of SQLite in this process.
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

/** Locks a file, unless it is the file that `locked` has open. */
async function lockUnlessSame(holding: DisposableStack, file: string, locked: Deno.FsFile): Promise<void> {
  const { NotFound, NotCapable } = Deno.errors;
  try {
    const known = await Deno.stat(file).catch(ignoreIf(NotFound));
    if (!known || inodeKey(known) !== inodeKey(locked.statSync())) await openLocked(holding, file, true);
  } catch (error) {
    if (!(error instanceof NotCapable)) throw error; // the permissions may not include a link's target
  }
}

const IN_USE_MESSAGE = "another server is using it";

function inodeKey({ dev, ino }: Deno.FileInfo): string {
  return `${dev}:${ino}`;
}

/** Resolves symbolic links in a path, also if the file does not exist. */
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
