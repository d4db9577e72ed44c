/** A folder of files for one user alone. Writes are atomic. */

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const GROUP_OR_OTHERS = 0o077; // mode bits of access by the group or others
const GROUP_OR_OTHERS_WRITE = 0o022; // mode bits with which others can replace a folder's files
const MAX_FILE_BYTES = 4_096; // a saved login has less than 1,000
const TEMPORARY_SUFFIX = ".tmp";
const STALE_TEMPORARY_MS = 60_000; // a write takes milliseconds, so the program of an older file was killed

/** A file or a folder that is unsafe to use. The message names it and the reason. */
export class UnsafeFileError extends Error {
  override readonly name = "UnsafeFileError";
}

/** A lock of {@link PrivateFolder.tryLock}. */
export interface Lock {
  /** Releases the lock, and with `remove` removes its file. */
  release(remove?: boolean): void;
}

/**
 * A private folder in a parent folder. The first write creates both. All methods throw
 * {@link UnsafeFileError} if a folder or a file belongs to another user or is open to others. They pass errors
 * of the runtime on.
 */
export class PrivateFolder {
  readonly #path: string;
  readonly #parent: string;
  readonly #uid: number;

  /** The folder `name` in the folder `parent`. Both must belong to the user `uid` alone. */
  constructor(parent: string, name: string, uid: number) {
    this.#parent = parent;
    this.#path = `${parent}/${name}`;
    this.#uid = uid;
  }

  /** Returns the names of the files that end in `suffix`, or none if there is no folder. */
  list(suffix: string): string[] {
    if (!this.#exists()) return [];
    return [...Deno.readDirSync(this.#path)].map(({ name }) => name).filter((name) => name.endsWith(suffix));
  }

  /** Returns the time of a file's last write in milliseconds since 1970, or 0 if there is no such file. */
  modifiedAt(name: string): number {
    return statOf(this.#pathOf(name))?.mtime?.getTime() ?? 0;
  }

  /** Returns a file's text, or undefined if there is no such file. */
  read(name: string): string | undefined {
    const path = this.#pathOf(name);
    const found = this.#exists() ? statOf(path) : undefined;
    if (!found) return undefined;
    if (!found.isFile) throw new UnsafeFileError(`${path} is not a file`);
    using file = Deno.openSync(path);
    const info = file.statSync(); // of the open file, which may have been replaced
    this.#check(path, info, GROUP_OR_OTHERS);
    if (info.size > MAX_FILE_BYTES) throw new UnsafeFileError(`${path} has over ${MAX_FILE_BYTES} bytes`);
    const bytes = new Uint8Array(MAX_FILE_BYTES);
    let size = 0;
    for (let count; (count = file.readSync(bytes.subarray(size))) !== null && count > 0;) size += count;
    return new TextDecoder().decode(bytes.subarray(0, size));
  }

  /** Creates or replaces a file in one step. The new file is private, even if the old one was not. */
  write(name: string, text: string): void {
    this.#create();
    this.#sweep();
    const path = this.#pathOf(name);
    const temporary = `${path}.${crypto.randomUUID()}${TEMPORARY_SUFFIX}`;
    try {
      using file = Deno.openSync(temporary, { write: true, createNew: true, mode: FILE_MODE });
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
      file.syncDataSync(); // before the rename, so that a loss of power leaves the old file or the new one
      Deno.renameSync(temporary, path);
    } catch (error) {
      removeFile(temporary);
      throw error;
    }
  }

  /** Removes a file if it exists. */
  remove(name: string): void {
    if (this.#exists()) removeFile(this.#pathOf(name));
  }

  /**
   * Creates and locks a file, until this program ends at the latest. Returns undefined if another program has
   * the lock.
   */
  tryLock(name: string): Lock | undefined {
    this.#create();
    const path = this.#pathOf(name);
    for (;;) {
      const file = Deno.openSync(path, { read: true, write: true, create: true, mode: FILE_MODE });
      if (!file.tryLockSync(true)) {
        file.close();
        return undefined;
      }
      // Between opening and locking, another program may have removed the file. Its lock excludes no program.
      if (statOf(path)?.ino !== file.statSync().ino) {
        file.close();
        continue;
      }
      return {
        release: (remove = false) => {
          try {
            if (remove) removeFile(path);
          } finally {
            file.close();
          }
        },
      };
    }
  }

  #pathOf(name: string): string {
    return `${this.#path}/${name}`;
  }

  /** Returns whether the folder exists. Throws if it is unsafe. */
  #exists(): boolean {
    for (const path of [this.#parent, this.#path]) {
      const info = statOf(path);
      if (!info) return false;
      if (!info.isDirectory) throw new UnsafeFileError(`${path} is not a folder`);
      this.#check(path, info, GROUP_OR_OTHERS_WRITE);
    }
    return true;
  }

  #create(): void {
    if (this.#exists()) return;
    Deno.mkdirSync(this.#path, { recursive: true, mode: FOLDER_MODE });
    this.#exists();
  }

  #check(path: string, { uid, mode }: Deno.FileInfo, forbidden: number): void {
    if (uid !== this.#uid) {
      throw new UnsafeFileError(`${path} belongs to user ${uid}, not to user ${this.#uid}`);
    }
    if (((mode ?? GROUP_OR_OTHERS) & forbidden) !== 0) {
      const bits = ((mode ?? 0) & 0o777).toString(8).padStart(4, "0");
      throw new UnsafeFileError(`${path} is open to other users (mode ${bits})`);
    }
  }

  /** Removes temporary files of programs that were killed during a write. */
  #sweep(): void {
    for (const name of this.list(TEMPORARY_SUFFIX)) {
      if (Date.now() - this.modifiedAt(name) > STALE_TEMPORARY_MS) this.remove(name);
    }
  }
}

/** Returns the state of a path without following a link, or undefined if there is nothing. */
function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
