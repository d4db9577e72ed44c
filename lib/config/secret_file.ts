/** Passwords in files: neither the process list nor the environment shows them. */
import type { Warning } from "./environment.ts";

/** The bits of a file's mode for reading and writing by users outside its owner and group. */
const OTHERS_READ_WRITE = 0o006;

/** A password, and warnings about its file. */
export interface Secret {
  readonly text: string;
  readonly warnings: readonly Warning[];
}

/**
 * Reads the password from the file that `option` names: one line, without the line break at its end. Rejects
 * with an Error of one line, without the password. A file that all users can read or write only causes a
 * warning, since containers mount secrets like that.
 */
export async function readSecret(option: string, file: string): Promise<Secret> {
  let text: string;
  let mode: number | null;
  try {
    text = (await Deno.readTextFile(file)).replace(/\r?\n$/, "");
    ({ mode } = await Deno.stat(file));
  } catch (error) {
    throw new Error(`Cannot read ${option} ${file}: ${(error as Error).message}`);
  }
  if (text === "") throw new Error(`Cannot use ${option} ${file}: it is empty`);
  if (/[\r\n]/.test(text)) throw new Error(`Cannot use ${option} ${file}: it has more than one line`);
  const isOpen = mode !== null && (mode & OTHERS_READ_WRITE) !== 0;
  const warning: Warning = {
    event: "a password file is open to all users of this machine",
    fields: { option, file, hint: "chmod o= removes their access" },
  };
  return { text, warnings: isOpen ? [warning] : [] };
}
