/**
 * The files of a new database server. To make them takes some seconds, so that it is done once for each version of
 * the program, and kept as an archive in the system's folder for temporary files. Every server gets a copy of its own.
 */
import { tmpdir } from "node:os";
import { database } from "./database_program.ts";

/**
 * Puts a new server's files into `folder`/data; `folder`/tmp must be there. `options`: options of the server that
 * decide which files it has. Rejects with what the program said that failed.
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

/** Whether it is there, and this user has made it: others may write to the folder, too. */
async function isOwnFile(archive: string): Promise<boolean> {
  try {
    const { isFile, uid } = await Deno.lstat(archive);
    return isFile && uid === Deno.uid();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Makes the files in the folder, and the archive of them. */
async function make(archive: string, folder: string, options: readonly string[]): Promise<void> {
  const [program, ...args] = database.install(folder);
  await run(program!, ...args, ...asRoot(), ...options);
  const unfinished = `${folder}/archive`;
  await run("tar", "-C", folder, "-czf", unfinished, "data");
  // Another process may do the same now. Each archive is whole when it gets its name.
  const beside = `${archive}-${crypto.randomUUID()}`;
  await Deno.copyFile(unfinished, beside);
  await Deno.rename(beside, archive);
  await Deno.remove(unfinished);
}

/** The server refuses to run as root unless it is told to. */
export function asRoot(): string[] {
  return Deno.uid() === 0 ? ["--user=root"] : [];
}

/** Runs a program and returns what it writes; rejects when it fails. */
async function run(program: string, ...args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args], stdin: "null" })
    .output();
  const decoder = new TextDecoder();
  if (success) return decoder.decode(stdout);
  throw new Error(`${program} failed:\n${decoder.decode(stdout)}${decoder.decode(stderr)}`);
}
