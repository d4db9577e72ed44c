/** Files that only the server's own account may read: they hold messages. */

/** SQLite gives its other files the same permissions as the database. */
export const PRIVATE_MODE = 0o600;

/** The end of the name of a file that is not whole yet. */
export const PART_SUFFIX = ".part";

/** Makes a new file that only the server's account may read. */
export async function createPrivateFile(file: string): Promise<void> {
  (await Deno.open(file, { createNew: true, write: true, mode: PRIVATE_MODE })).close();
}

/** Returns the folder's part of a path, with its last slash; empty if there is none. */
export function folderOf(file: string): string {
  return file.replace(/[^/\\]*$/, "");
}

/** Returns a time as it stands in names of files: to the millisecond, in UTC. */
export function fileTimestamp(): string {
  return new Date().toISOString().replace(/[-:.]/g, "");
}

/** Returns a handler that gives undefined for errors of these kinds, and throws others. */
export function ignoreIf(...kinds: (new (...args: never[]) => Error)[]): (error: unknown) => undefined {
  return (error) => {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
    return undefined;
  };
}

/** Returns what is known of a file; undefined if it is missing, or if the permissions don't reach so far. */
export function statIfExists(file: string): Promise<Deno.FileInfo | undefined> {
  const { NotFound, NotADirectory, NotCapable } = Deno.errors;
  return Deno.stat(file).catch(ignoreIf(NotFound, NotADirectory, NotCapable));
}
