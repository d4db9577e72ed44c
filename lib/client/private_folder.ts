/** A folder of files that are for one user alone. Each file is written whole or not at all. */

const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
const GROUP_OR_OTHERS = 0o077; // bits of a file's mode that let its group or others do something
const GROUP_OR_OTHERS_WRITE = 0o022; // bits of a folder's mode with which others can replace what is in it
const MAX_FILE_BYTES = 4_096; // a saved login has less than 1,000; more is none
const TEMPORARY_SUFFIX = ".tmp";
const STALE_TEMPORARY_MS = 60_000; // a write takes some milliseconds: its program was killed

/** A file or a folder must not be used; the message says which and why. */
export class UnsafeFileError extends Error {
  override readonly name = "UnsafeFileError";
}

/** See {@link PrivateFolder.tryLock}. */
export interface Lock {
  /** Ends it. `remove` removes its file as well. */
  release(remove?: boolean): void;
}

/**
 * The folders are not made before something is written. Everything throws {@link UnsafeFileError} where a folder or a
 * file belongs to another user or is open to others, and the runtime's errors as they come.
 */
export class PrivateFolder {
  readonly #path: string;
  readonly #parent: string;
  readonly #uid: number;

  /** The folder `name` in the folder `parent`, both of which must be of the user `uid`, and theirs alone. */
  constructor(parent: string, name: string, uid: number) {
    this.#parent = parent;
    this.#path = `${parent}/${name}`;
    this.#uid = uid;
  }

  /** The names of the files that end in `suffix`; none if there is no folder. */
  list(suffix: string): string[] {
    if (!this.#exists()) return [];
    return [...Deno.readDirSync(this.#path)].map(({ name }) => name).filter((name) => name.endsWith(suffix));
  }

  /** When a file was written, in milliseconds since 1970; 0 if it is gone. */
  modifiedAt(name: string): number {
    return statOf(this.#pathOf(name))?.mtime?.getTime() ?? 0;
  }

  /** A file's text; undefined if there is no such file. */
  read(name: string): string | undefined {
    const path = this.#pathOf(name);
    const found = this.#exists() ? statOf(path) : undefined;
    if (!found) return undefined;
    if (!found.isFile) throw new UnsafeFileError(`${path} is not a file`);
    using file = Deno.openSync(path);
    const info = file.statSync(); // of what is open, whatever has its name by now
    this.#check(path, info, GROUP_OR_OTHERS);
    if (info.size > MAX_FILE_BYTES) throw new UnsafeFileError(`${path} has over ${MAX_FILE_BYTES} bytes`);
    const bytes = new Uint8Array(MAX_FILE_BYTES);
    let size = 0;
    for (let count; (count = file.readSync(bytes.subarray(size))) !== null && count > 0;) size += count;
    return new TextDecoder().decode(bytes.subarray(0, size));
  }

  /** Replaces a file in one step. A file that is open to others is replaced by one that is not. */
  write(name: string, text: string): void {
    this.#create();
    this.#sweep();
    const path = this.#pathOf(name);
    const temporary = `${path}.${crypto.randomUUID()}${TEMPORARY_SUFFIX}`;
    try {
      using file = Deno.openSync(temporary, { write: true, createNew: true, mode: FILE_MODE });
      const bytes = new TextEncoder().encode(text);
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
      file.syncDataSync(); // before it has the name: after a loss of power there is the old file or the new one
      Deno.renameSync(temporary, path);
    } catch (error) {
      removeFile(temporary);
      throw error;
    }
  }

  /** Removes a file if there is one. */
  remove(name: string): void {
    if (this.#exists()) removeFile(this.#pathOf(name));
  }

  /** Locks a file, which is made for it, until this program ends at the latest; undefined while another program does. */
  tryLock(name: string): Lock | undefined {
    this.#create();
    const path = this.#pathOf(name);
    for (;;) {
      const file = Deno.openSync(path, { read: true, write: true, create: true, mode: FILE_MODE });
      if (!file.tryLockSync(true)) {
        file.close();
        return undefined;
      }
      // Between opening and locking, another program may have removed the file: a lock on it keeps no program out.
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

  /** Whether there is a folder, which is safe then. */
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
    if (uid !== this.#uid) throw new UnsafeFileError(`${path} belongs to the user ${uid}, not ${this.#uid}`);
    if (((mode ?? GROUP_OR_OTHERS) & forbidden) !== 0) {
      const bits = ((mode ?? 0) & 0o777).toString(8).padStart(4, "0");
      throw new UnsafeFileError(`${path} is open to other users (mode ${bits})`);
    }
  }

  /** Removes what programs left behind that were killed while they wrote. */
  #sweep(): void {
    for (const name of this.list(TEMPORARY_SUFFIX)) {
      if (Date.now() - this.modifiedAt(name) > STALE_TEMPORARY_MS) this.remove(name);
    }
  }
}

/** What a path names, a link itself and not where it leads; undefined if there is nothing. */
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
