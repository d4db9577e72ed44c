/** Passwords that stand in files, where neither the process list nor the environment shows them. */
import type { Warning } from "./environment.ts";

/** The bits of a file's mode that let users read or write it who are neither its owner nor of its group. */
const OTHERS_READ_WRITE = 0o006;

/** What a file says, and what the operator should know about it. */
export interface Secret {
  readonly text: string;
  readonly warnings: readonly Warning[];
}

/**
 * Reads the password in the file that `option` names: one line, of which a line break at its end is no part. Rejects with an Error of one
 * line, without the password. A file that others can read or write is used, with a warning: containers mount secrets
 * like that.
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
    event: "a password's file is open to all users of this machine",
    fields: { option, file, hint: "chmod o= takes that from them" },
  };
  return { text, warnings: isOpen ? [warning] : [] };
}
