/** Files that only the server's own account may read, because they hold messages. */

/** Permissions of the database, which SQLite copies to its other files. */
export const PRIVATE_MODE = 0o600;

/** Suffix of a file that is not complete yet. */
export const PART_SUFFIX = ".part";

/** Creates a new file that only the server's account may read. */
export async function createPrivateFile(file: string): Promise<void> {
  (await Deno.open(file, { createNew: true, write: true, mode: PRIVATE_MODE })).close();
}

/** Returns the folder of a path, with its last slash; an empty string if the path has no folder. */
export function folderOf(file: string): string {
  return file.replace(/[^/\\]*$/, "");
}

/** Returns the current time in UTC for a file name, to the millisecond. */
export function fileTimestamp(): string {
  return new Date().toISOString().replace(/[-:.]/g, "");
}

/** Returns a handler of rejections that returns undefined for errors of these classes, and throws others. */
export function ignoreIf(...kinds: (new (...args: never[]) => Error)[]): (error: unknown) => undefined {
  return (error) => {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
    return undefined;
  };
}

/** Returns a file's information; undefined if it does not exist or the permissions do not include it. */
export function statIfExists(file: string): Promise<Deno.FileInfo | undefined> {
  const { NotFound, NotADirectory, NotCapable } = Deno.errors;
  return Deno.stat(file).catch(ignoreIf(NotFound, NotADirectory, NotCapable));
}
