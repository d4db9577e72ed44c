/** The note beside a lost database: without it the next start would begin with an empty one, or with a wrong one. */
import { type FileIdentity, fileIdentity, isSameFile } from "./file_watch.ts";
import { fileTimestamp, folderOf, PART_SUFFIX, PRIVATE_MODE, statIfExists } from "./private_file.ts";

const RESCUED_INFIX = ".rescued-";
const NOTE_SUFFIX = ".lost";

/** Only the server's account may list the folder, as is so for the one that it made. */
const PRIVATE_FOLDER_MODE = 0o700;

/** What an operator and the next start have to know. */
export interface LostNote {
  readonly time: string;
  readonly reason: string;
  /** What to do now, in words. */
  readonly action: string;
  /** The files that hold all acknowledged data: with one of them in the database's place a start goes on. */
  readonly whole: readonly FileIdentity[];
  /** The write-ahead log that belongs to them. */
  readonly wal: FileIdentity | undefined;
}

/** Returns a name beside the folder of a file, for when the folder is gone; undefined if the folder has no name. */
function besideFolder(file: string): string | undefined {
  const folder = folderOf(file);
  const name = folder.replace(/[/\\]+$/, "");
  return /(^|[/\\])\.{0,2}$/.test(name) ? undefined : `${name}-${file.slice(folder.length)}`;
}

/** The same, if the permissions reach so far: at a terminal the user would be asked for more. */
export function permittedBeside(file: string): string | undefined {
  const path = besideFolder(file);
  if (path === undefined) return undefined;
  const isGranted = (name: "read" | "write") =>
    Deno.permissions.querySync({ name, path }).state === "granted";
  return isGranted("read") && isGranted("write") ? path : undefined;
}

/** Returns a name for a copy of the database that is free now, and is found by the next start. */
export function rescueName(place: string): string {
  return `${place}${RESCUED_INFIX}${fileTimestamp()}`;
}

/**
 * Writes the note beside each of a database's names, or beside its folder if that is gone, in place of an earlier one.
 * Where the permissions do not reach beside the folder, that is made anew for the note. Returns the files; none if it
 * can't be written anywhere.
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

/** Removes the notes of a database that is in its place again. */
export async function removeNotes(...names: readonly string[]): Promise<void> {
  for (const place of new Set(names.flatMap(notePlaces))) {
    await Deno.remove(place + NOTE_SUFFIX).catch(() => {});
  }
}

/**
 * Throws if the database was lost, and what is in its place now is not whole. Returns whether it was lost, and is back:
 * then the notes are removed.
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
        `a server lost it at ${note.time} (${note.reason}), and what is there now is not what was saved: ` +
          `${note.action}; or remove ${name} to go on with what is there now`,
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

/** Returns a copy that was made of a database when it was lost, if there is one. */
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
      // A folder that can't be listed: opening the file tells more about the reason.
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
    return undefined; // most often there is none
  }
  try {
    const { time, reason, action, whole, wal } = JSON.parse(text) as LostNote;
    return { time, reason, action, whole: [...whole], wal };
  } catch {
    throw new Error(
      `${name} says that the database was lost, and can't be read: look for copies of the database`,
    );
  }
}
