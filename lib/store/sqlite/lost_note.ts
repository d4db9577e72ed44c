/** The note beside a lost database, which prevents the next start from using an empty or a wrong database. */
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import { fileTimestamp, folderOf, PART_SUFFIX, PRIVATE_MODE, statIfExists } from "./private_file.ts";

const RESCUED_INFIX = ".rescued-";
const NOTE_SUFFIX = ".lost";

/** Permissions of a recreated folder: only the server's account may list it. */
const PRIVATE_FOLDER_MODE = 0o700;

/** The note's content, for an operator and for the next start. */
export interface LostNote {
  readonly time: string;
  readonly reason: string;
  /** The instruction for the operator. */
  readonly action: string;
  /** The files that have all acknowledged data. A start requires one of them in the database's place. */
  readonly whole: readonly FileIdentity[];
  /** The write-ahead log of those files. */
  readonly wal: FileIdentity | undefined;
}

/**
 * Returns a name beside a file's folder, for a folder that is removed; undefined if the folder has no name.
 */
function besideFolder(file: string): string | undefined {
  const folder = folderOf(file);
  const name = folder.replace(/[/\\]+$/, "");
  return /(^|[/\\])\.{0,2}$/.test(name) ? undefined : `${name}-${file.slice(folder.length)}`;
}

/** Returns the name of {@link besideFolder} if the permissions include it. Never asks for permissions. */
export function permittedBeside(file: string): string | undefined {
  const path = besideFolder(file);
  if (path === undefined) return undefined;
  const isGranted = (name: "read" | "write") =>
    Deno.permissions.querySync({ name, path }).state === "granted";
  return isGranted("read") && isGranted("write") ? path : undefined;
}

/** Returns a new name for a copy of the database, which the next start finds with {@link rescuedCopyOf}. */
export function rescueName(place: string): string {
  return `${place}${RESCUED_INFIX}${fileTimestamp()}`;
}

/**
 * Writes the note beside each of a database's names, or beside the folder if that is removed, and replaces an
 * earlier note. Recreates the folder if the permissions include no other place. Returns the written files,
 * which may be none.
 */
export async function writeNote(names: readonly string[], note: LostNote): Promise<string[]> {
  const text = JSON.stringify(note, undefined, 2) + "\n";
  const tryAt = (place: string) =>
    Deno.writeTextFile(place + NOTE_SUFFIX, text, { mode: PRIVATE_MODE }).then(
      () => place + NOTE_SUFFIX,
      () => undefined,
    );
  const written: string[] = [];
  for (const name of new Set(names)) {
    let file: string | undefined;
    for (const place of notePlaces(name)) file ??= await tryAt(place);
    if (file === undefined && written.length === 0) {
      await Deno.mkdir(folderOf(name), { mode: PRIVATE_FOLDER_MODE }).catch(() => {});
      file = await tryAt(name);
    }
    if (file !== undefined) written.push(file);
  }
  return written;
}

/** Removes the notes beside a database's names. */
export async function removeNotes(...names: readonly string[]): Promise<void> {
  for (const place of new Set(names.flatMap(notePlaces))) {
    await Deno.remove(place + NOTE_SUFFIX).catch(() => {});
  }
}

/**
 * Throws if a note says that the database was lost and the file in its place is not one of the note's.
 * Returns whether the database was lost and is in its place again; the notes are then removed.
 */
export async function refuseLost(file: string, path: string): Promise<boolean> {
  const names = [file, path];
  for (const place of new Set(names.flatMap(notePlaces))) {
    const name = place + NOTE_SUFFIX;
    const note = await readNote(name);
    if (!note) continue;
    const [here, wal] = [await statIfExists(path), await statIfExists(`${path}-wal`)];
    const isWhole = here !== undefined && note.whole.some((whole) => isSameFile(whole, fileIdentity(here)));
    if (!isWhole) {
      throw new Error(
        `a server lost it at ${note.time} (${note.reason}), and the current file is not the saved one: ` +
          `${note.action}; or remove ${name} to go on with the current file`,
      );
    }
    if (wal && wal.size > 0 && !(note.wal && isSameFile(note.wal, fileIdentity(wal)))) {
      throw new Error(`${path}-wal belongs to another database: move it away`);
    }
    await removeNotes(...names);
    return true;
  }
  return false;
}

/** Returns the copy of a lost database that an earlier rescue made, if there is one. */
export async function rescuedCopyOf(file: string): Promise<string | undefined> {
  for (const place of notePlaces(file)) {
    const folder = folderOf(place);
    const prefix = place.slice(folder.length) + RESCUED_INFIX;
    try {
      for await (const { name } of Deno.readDir(folder || ".")) {
        if (!name.startsWith(prefix) || name.endsWith(PART_SUFFIX)) continue;
        if (((await statIfExists(folder + name))?.size ?? 0) > 0) return folder + name;
      }
    } catch {
      // The folder cannot be listed. Opening the file reports the reason.
    }
  }
  return undefined;
}

function notePlaces(name: string): string[] {
  const beside = permittedBeside(name);
  return beside === undefined ? [name] : [name, beside];
}

async function readNote(name: string): Promise<LostNote | undefined> {
  let text: string;
  try {
    text = await Deno.readTextFile(name);
  } catch {
    return undefined; // no note
  }
  try {
    const { time, reason, action, whole, wal } = JSON.parse(text) as LostNote;
    return { time, reason, action, whole: [...whole], wal };
  } catch {
    throw new Error(
      `${name} says that the database was lost, and is damaged: look for copies of the database`,
    );
  }
}
