/** Whether the files of an open database are still where they were: what is committed to others is lost. */
import { readHeader } from "./file_header.ts";
import { WalProbe } from "./wal_probe.ts";

/** What tells a file from all others, whatever its name. Both are 0 where the system does not say. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** What has happened to one of the files. */
export interface FileFault {
  readonly reason: string;
  /** Whether a file that is in its place has lost its end or was overwritten: what is open cannot be trusted then. */
  readonly isTruncated: boolean;
}

interface WatchedFile {
  readonly path: string;
  readonly identity: FileIdentity;
}

/** SQLite's files beside a database: the write-ahead log, and its index in memory that all processes share. */
export const COMPANION_SUFFIXES = ["-wal", "-shm"] as const;

export function fileIdentity({ dev, ino }: Deno.FileInfo): FileIdentity {
  return { dev: dev ?? 0, ino: ino ?? 0 };
}

export function isSameFile(one: FileIdentity, other: FileIdentity): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Watches the files of one open database. Make it before the database is opened, and dispose of it after closing. */
export class FileWatch implements Disposable {
  readonly #file: string;
  readonly #path: string;
  readonly #identity: FileIdentity;
  readonly #database: Deno.FsFile;
  #companions: readonly WatchedFile[] = [];
  #walProbe: WalProbe | undefined;
  // Of the database when it was looked at last:
  #size = 0; // bytes
  #changes = 0;

  /**
   * For a database that will be open under the name `file`. `path` is that name without symbolic links, and
   * `identity` the file that was locked. Throws if the database is another one by now.
   */
  constructor(file: string, path: string, identity: FileIdentity) {
    this.#file = file;
    this.#path = path;
    this.#identity = identity;
    this.#database = Deno.openSync(file);
    if (isSameFile(fileIdentity(this.#database.statSync()), identity)) return;
    this.#database.close();
    throw new Error(`${file} was replaced in this moment; try again`);
  }

  /** Throws if the name no longer belongs to the locked file. Call it after SQLite has opened the name, and before use. */
  verify(): void {
    const { reason } = this.#checkPlace({ path: this.#file, identity: this.#identity }) ?? {};
    if (reason !== undefined) throw new Error(reason);
  }

  /** Watches the log and its index as well, once the database is in use. */
  watchLog(): void {
    try {
      this.#companions = COMPANION_SUFFIXES.map((suffix) => {
        const path = this.#path + suffix;
        return { path, identity: fileIdentity(Deno.statSync(path)) };
      });
      this.#walProbe = new WalProbe(this.#path);
    } catch (error) {
      // The permissions may end at a symbolic link: then the database alone is watched.
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      this.#companions = [];
    }
  }

  /** The write-ahead log, if it is watched. */
  get wal(): FileIdentity | undefined {
    return this.#companions[0]?.identity;
  }

  /**
   * Returns what has happened to one of the files, or undefined if all are in their places and whole. Throws if that
   * can't be found out.
   */
  check(): FileFault | undefined {
    return this.#checkPlace({ path: this.#file, identity: this.#identity }, true) ??
      this.#companions.map((watched) => this.#checkPlace(watched)).find((found) => found !== undefined) ??
      this.#checkLog();
  }

  /**
   * Moves the log out of the way, now that all is saved: beside another database it would spoil that. The names end in
   * `aside` then. With `database`, the database itself too. Files of others stay; but in the database's own place no
   * log is right any more.
   */
  moveAside(aside: string, database: boolean): void {
    const isHere = this.#isAt(this.#path, this.#identity);
    const [wal, shm] = COMPANION_SUFFIXES.map((suffix) => this.#path + suffix) as [string, string];
    if (isHere || this.#isAt(wal, this.#companions[0]?.identity)) tryRename(wal, wal + aside);
    if (isHere || this.#isAt(shm, this.#companions[1]?.identity)) tryRemove(shm); // there is nothing in it but an index
    if (isHere && database) tryRename(this.#path, this.#path + aside);
  }

  #isAt(path: string, identity: FileIdentity | undefined): boolean {
    try {
      return identity !== undefined && isSameFile(fileIdentity(Deno.statSync(path)), identity);
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.#walProbe?.[Symbol.dispose]();
    this.#database.close();
  }

  #checkPlace({ path, identity }: WatchedFile, isDatabase = false): FileFault | undefined {
    try {
      if (!isSameFile(fileIdentity(Deno.statSync(path)), identity)) {
        return movedFault(`${path} was replaced by another file`);
      }
      if (isDatabase) return this.#checkHeader();
    } catch (error) {
      const { NotFound, NotADirectory } = Deno.errors;
      if (!(error instanceof NotFound) && !(error instanceof NotADirectory)) throw error;
      return movedFault(`${path} was removed or moved`);
    }
    return undefined;
  }

  #checkLog(): FileFault | undefined {
    return this.#walProbe?.isComplete() === false ? truncatedFault(this.#companions[0]!.path) : undefined;
  }

  /** A file that has shrunk may have been vacuumed: then its header says so. Its changes are never undone. */
  #checkHeader(): FileFault | undefined {
    const { size, expected, changes } = readHeader(this.#database);
    if (size === 0 || (size < this.#size && size < expected)) return truncatedFault(this.#path);
    if (changes === undefined || changes < this.#changes) {
      return { reason: `${this.#path} was overwritten while the server used it`, isTruncated: true };
    }
    this.#size = size;
    this.#changes = changes;
    return undefined;
  }
}

function movedFault(what: string): FileFault {
  return { reason: `${what} while the server used it`, isTruncated: false };
}

function truncatedFault(path: string): FileFault {
  return { reason: `${path} was cut off while the server used it`, isTruncated: true };
}

function tryRename(path: string, to: string): void {
  try {
    Deno.renameSync(path, to);
  } catch {
    // It is missing, or must stay: the note keeps the next start from using it.
  }
}

function tryRemove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // The same.
  }
}
