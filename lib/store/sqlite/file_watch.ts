/** Whether the files of an open database are still where they were: what is committed to others is lost. */

/** What tells a file from all others, whatever its name. Both are 0 where the system does not say. */
export interface Identity {
  readonly dev: number;
  readonly ino: number;
}

interface Watched {
  readonly path: string;
  readonly identity: Identity;
}

/** SQLite's files beside a database: the write-ahead log, and its index in memory that all processes share. */
const COMPANIONS = ["-wal", "-shm"];

export function identityOf({ dev, ino }: Deno.FileInfo): Identity {
  return { dev: dev ?? 0, ino: ino ?? 0 };
}

export function isSame(one: Identity, other: Identity): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

/** Watches the files of one open database. */
export class FileWatch {
  readonly #watched: readonly Watched[];

  /**
   * For a database that is open under the name `file`. `path` is that name without symbolic links, and `identity` the
   * file that was locked before it was opened.
   */
  constructor(file: string, path: string, identity: Identity) {
    const companions = COMPANIONS.flatMap((suffix) => {
      try {
        return [{ path: path + suffix, identity: identityOf(Deno.statSync(path + suffix)) }];
      } catch (error) {
        // The permissions may end at a symbolic link: then the database alone is watched.
        if (error instanceof Deno.errors.NotCapable) return [];
        throw error;
      }
    });
    this.#watched = [{ path: file, identity }, ...companions];
  }

  /**
   * Returns what has happened to one of the files, or undefined if all are in their places. Throws if that can't be
   * found out.
   */
  check(): string | undefined {
    for (const { path, identity } of this.#watched) {
      try {
        if (!isSame(identityOf(Deno.statSync(path)), identity)) {
          return `${path} was replaced by another file while the server used it`;
        }
      } catch (error) {
        const { NotFound, NotADirectory } = Deno.errors;
        if (!(error instanceof NotFound) && !(error instanceof NotADirectory)) throw error;
        return `${path} was removed or moved while the server used it`;
      }
    }
    return undefined;
  }
}
