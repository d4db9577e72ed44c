/** Where the embedded database is when no option says it. */
import type { Log } from "../log.ts";
import { DEFAULT_DB } from "./options.ts";

/** The folder of {@link DEFAULT_DB}. */
const FOLDER = DEFAULT_DB.slice(0, DEFAULT_DB.lastIndexOf("/"));

/** Only the server's own account may list the folder, as only it may read the files there. */
const FOLDER_MODE = 0o700;

/** The default of earlier releases, in the working directory. */
const FORMER_DB = "chat.db";

/** What is left of a database of that name: its write-ahead log, a copy that was saved, a note. */
const FORMER_TRACE = /^chat\.db(?:-wal|\.lost|\.rescued-.*)$/;

/**
 * Returns the embedded database's file when `--db` is not given: {@link DEFAULT_DB}, for which the folder is made, or the
 * former default if a database, or what is left of one, is there. The log then says how to move it. Rejects with an Error
 * of one line if both are there, as either choice would hide messages, and if the folder cannot be made.
 */
export async function locateDatabase(log: Log): Promise<string> {
  const hasFormer = await exists(FORMER_DB);
  if (await exists(DEFAULT_DB)) {
    if (!hasFormer) return DEFAULT_DB;
    throw new Error(
      `Cannot choose the database: there are ${FORMER_DB} and ${DEFAULT_DB}; name one with --db, or move one away`,
    );
  }
  if (hasFormer || await hasTraces()) {
    log.warn("the database is used where it is: the default is another file now", {
      database: FORMER_DB,
      default: DEFAULT_DB,
      hint: `stop the server, then: mkdir -pm 700 ${FOLDER} && mv ${FORMER_DB}* ${FOLDER}/`,
    });
    return FORMER_DB;
  }
  try {
    await Deno.mkdir(FOLDER, { mode: FOLDER_MODE });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) {
      throw new Error(
        `Cannot make the folder ${FOLDER} for the database: ${(error as Error).message}; ` +
          "start the server in the folder with deno.json, or name a file with --db",
        { cause: error },
      );
    }
  }
  return DEFAULT_DB;
}

/** Whether a database of the former default's name has been in the working directory, and messages may be in what is left. */
async function hasTraces(): Promise<boolean> {
  if (await exists(`${FORMER_DB}-wal`)) return true; // also where the folder may not be listed
  try {
    for await (const { name } of Deno.readDir(".")) if (FORMER_TRACE.test(name)) return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  return false;
}

async function exists(file: string): Promise<boolean> {
  const { NotFound, NotADirectory, NotCapable } = Deno.errors;
  try {
    await Deno.stat(file);
    return true;
  } catch (error) {
    if ([NotFound, NotADirectory, NotCapable].some((kind) => error instanceof kind)) return false;
    throw error;
  }
}
