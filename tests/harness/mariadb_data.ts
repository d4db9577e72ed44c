/**
 * The initial files of a database server. Their creation takes some seconds, so it is done once for each
 * version of the program and stored as an archive in the system's temporary folder. Every server starts with
 * a copy.
 */
import { tmpdir } from "node:os";
import { database } from "./database_program.ts";

/**
 * Puts the initial files of a server into `folder`/data; `folder`/tmp must exist. `options` are the options
 * of the server that determine its files. Rejects with the output of a program that fails.
 */
export async function installData(folder: string, options: readonly string[]): Promise<void> {
  const archive = await archiveFor(folder, options);
  if (!await isOwnFile(archive)) await make(archive, folder, options);
  else await run("tar", "-C", folder, "-xzf", archive);
}

async function archiveFor(folder: string, options: readonly string[]): Promise<string> {
  const version = await run(database.name, "--no-defaults", "--version");
  const made = new TextEncoder().encode(
    [version, ...database.install(folder), ...options].join("\n").replaceAll(folder, ""),
  );
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", made)).toHex().slice(0, 16);
  return `${tmpdir()}/chat-test-mariadb-${Deno.uid()}-${hash}.tar.gz`;
}

/** Returns whether the file exists and belongs to this user, as other users may write to the folder, too. */
async function isOwnFile(archive: string): Promise<boolean> {
  try {
    const { isFile, uid } = await Deno.lstat(archive);
    return isFile && uid === Deno.uid();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Creates the files in the folder, and their archive. */
async function make(archive: string, folder: string, options: readonly string[]): Promise<void> {
  const [program, ...args] = database.install(folder);
  await run(program!, ...args, ...asRoot(), ...options);
  const unfinished = `${folder}/archive`;
  await run("tar", "-C", folder, "-czf", unfinished, "data");
  // Another process may do the same now, so an archive gets its name when it is complete.
  const beside = `${archive}-${crypto.randomUUID()}`;
  await Deno.copyFile(unfinished, beside);
  await Deno.rename(beside, archive);
  await Deno.remove(unfinished);
}

/** Returns the option with which the server agrees to run as root. */
export function asRoot(): string[] {
  return Deno.uid() === 0 ? ["--user=root"] : [];
}

/** Runs a program and returns its output. Rejects when it fails. */
async function run(program: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args], stdin: "null" })
    .output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(`${program} failed:\n${decoder.decode(stdout)}${decoder.decode(stderr)}`);
}
