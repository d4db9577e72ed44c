/** The place of the embedded database without `--db`. */
import type { Log } from "../log.ts";
import { DEFAULT_DB } from "./options.ts";

/** The folder of {@link DEFAULT_DB}. */
const FOLDER = DEFAULT_DB.slice(0, DEFAULT_DB.lastIndexOf("/"));

/** Only the server's own account may list the folder and read its files. */
const FOLDER_MODE = 0o700;

/** The default file of earlier releases, in the working directory. */
const FORMER_DB = "chat.db";

/** Files that remain of a database of that name: its write-ahead log, a rescued copy, a note about a loss. */
const FORMER_TRACE = /^chat\.db(?:-wal|\.lost|\.rescued-.*)$/;

/**
 * Returns the file of the embedded database without `--db`: {@link DEFAULT_DB}, after creating its folder, or
 * the former default if that database or a remainder of it exists. The log then names the commands that move
 * it. Rejects with an Error of one line if both exist, as either choice would hide messages, and if the
 * folder cannot be created.
 */
export async function locateDatabase(log: Log): Promise<string> {
  const hasFormer = await exists(FORMER_DB);
  if (await exists(DEFAULT_DB)) {
    if (!hasFormer) return DEFAULT_DB;
    throw new Error(
      `Cannot choose the database: both ${FORMER_DB} and ${DEFAULT_DB} exist; ` +
        "name one with --db, or move one",
    );
  }
  if (hasFormer || await hasTraces()) {
    log.warn("the database is still at the default place of earlier releases", {
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
        `Cannot create the folder ${FOLDER} for the database: ${(error as Error).message}; ` +
          "start the server in the folder with deno.json, or name a file with --db",
        { cause: error },
      );
    }
  }
  return DEFAULT_DB;
}

/**
 * Returns whether the working directory has remainders of a former default database, which may contain
 * messages.
 */
async function hasTraces(): Promise<boolean> {
  if (await exists(`${FORMER_DB}-wal`)) return true; // works without permission to list the folder
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
