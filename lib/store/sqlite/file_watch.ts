/** Detects that files of an open database were moved, replaced or truncated: commits would be lost. */
import { readHeader } from "./file_header.ts";
import { WalProbe } from "./wal_probe.ts";

/** A file's device and inode, which do not depend on its name. Both are 0 on systems without them. */
export interface FileIdentity {
  readonly dev: number;
  readonly ino: number;
}

/** The fault of one of the files. */
export interface FileFault {
  readonly reason: string;
  /**
   * Whether a file was truncated or overwritten in place. The data of open descriptors is incomplete then.
   */
  readonly isTruncated: boolean;
}

interface WatchedFile {
  readonly path: string;
  readonly identity: FileIdentity;
}

/** Suffixes of SQLite's files beside a database: the write-ahead log, and its index in shared memory. */
export const COMPANION_SUFFIXES = ["-wal", "-shm"] as const;

export function fileIdentity({ dev, ino }: Deno.FileInfo): FileIdentity {
  return { dev: dev ?? 0, ino: ino ?? 0 };
}

export function isSameFile(one: FileIdentity, other: FileIdentity): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/**
 * Checks the files of a database. Create it before the database is opened, and dispose of it after closing.
 */
export class FileWatch implements Disposable {
  readonly #file: string;
  readonly #path: string;
  readonly #identity: FileIdentity;
  readonly #database: Deno.FsFile;
  #companions: readonly WatchedFile[] = [];
  #walProbe: WalProbe | undefined;
  // The header at the last check:
  #sizeBytes = 0;
  #changes = 0;

  /**
   * Watches a database that will be opened under the name `file`. `path` is that name without symbolic links,
   * and `identity` the locked file. Throws if the name belongs to another file by now.
   */
  constructor(file: string, path: string, identity: FileIdentity) {
    this.#file = file;
    this.#path = path;
    this.#identity = identity;
    this.#database = Deno.openSync(file);
    if (isSameFile(fileIdentity(this.#database.statSync()), identity)) return;
    this.#database.close();
    throw new Error(`another program replaced ${file} during the start: start again`);
  }

  /**
   * Throws if the name no longer belongs to the locked file. Call it between SQLite's opening and first use.
   */
  verify(): void {
    const { reason } = this.#checkPlace({ path: this.#file, identity: this.#identity }) ?? {};
    if (reason !== undefined) throw new Error(reason);
  }

  /** Also watches the log and its index. Call it once the database is in use. */
  watchLog(): void {
    try {
      this.#companions = COMPANION_SUFFIXES.map((suffix) => {
        const path = this.#path + suffix;
        return { path, identity: fileIdentity(Deno.statSync(path)) };
      });
      this.#walProbe = new WalProbe(this.#path);
    } catch (error) {
      // The permissions may not include the target of a symbolic link. Only the database is watched then.
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      this.#companions = [];
    }
  }

  /** The write-ahead log's identity, if it is watched. */
  get wal(): FileIdentity | undefined {
    return this.#companions[0]?.identity;
  }

  /** Returns the first fault of the files, if there is one. Throws if they are not readable. */
  check(): FileFault | undefined {
    return this.#checkPlace({ path: this.#file, identity: this.#identity }, true) ??
      this.#companions.map((watched) => this.#checkPlace(watched)).find((fault) => fault !== undefined) ??
      this.#checkLog();
  }

  /**
   * Renames the log, once all data is saved, to a name that ends in `aside`: beside another database it would
   * damage that one. With `includeDatabase` renames the database, too. Files of other databases stay, except
   * a log beside the database itself.
   */
  moveAside(aside: string, includeDatabase: boolean): void {
    const isHere = this.#isAt(this.#path, this.#identity);
    const [wal, shm] = COMPANION_SUFFIXES.map((suffix) => this.#path + suffix) as [string, string];
    if (isHere || this.#isAt(wal, this.#companions[0]?.identity)) tryRename(wal, wal + aside);
    if (isHere || this.#isAt(shm, this.#companions[1]?.identity)) tryRemove(shm); // it is an index only
    if (isHere && includeDatabase) tryRename(this.#path, this.#path + aside);
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

  /**
   * Checks size and change counter, which never decreases. A vacuum shrinks the file and updates the header.
   */
  #checkHeader(): FileFault | undefined {
    const { size, expected, changes } = readHeader(this.#database);
    if (size === 0 || (size < this.#sizeBytes && size < expected)) return truncatedFault(this.#path);
    if (changes === undefined || changes < this.#changes) {
      return { reason: `${this.#path} was overwritten while the server used it`, isTruncated: true };
    }
    this.#sizeBytes = size;
    this.#changes = changes;
    return undefined;
  }
}

function movedFault(what: string): FileFault {
  return { reason: `${what} while the server used it`, isTruncated: false };
}

function truncatedFault(path: string): FileFault {
  return { reason: `${path} was truncated while the server used it`, isTruncated: true };
}

function tryRename(path: string, to: string): void {
  try {
    Deno.renameSync(path, to);
  } catch {
    // The file is missing or not writable. The note prevents the next start from using it.
  }
}

function tryRemove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // As in tryRename.
  }
}
