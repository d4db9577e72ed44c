/**
 * A substitute for the package @std/cli/parse-args that needs no download: string and boolean options,
 * aliases and a callback for unknown arguments, with the same signature, based on the runtime's `node:util`.
 * Without the `links` entry in deno.json the package itself is used.
 */
import { parseArgs as parse } from "node:util";

/** Options of {@link parseArgs}. */
export interface ParseOptions {
  /** Options with a value. */
  string?: readonly string[];
  /** Options without a value. */
  boolean?: readonly string[];
  /** One-letter names of options. */
  alias?: Record<string, string>;
  /** Called for each other argument; false leaves it out of the result. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The options by name, and under `_` the other arguments. */
export type Args = { _: (string | number)[]; [name: string]: unknown };

/**
 * Parses a command line. A value follows its option after a space or `=`. The last one of repeated values
 * counts. `--` ends the options.
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const { string = [], boolean = [], alias = {}, unknown } = options;
  const short = Object.fromEntries(Object.entries(alias).map(([letter, name]) => [name, letter]));
  const declare = (type: "string" | "boolean") => (name: string) =>
    [name, { type, ...(short[name] ? { short: short[name] } : {}) }] as const;
  const { tokens } = parse({
    args: [...args],
    options: Object.fromEntries([...string.map(declare("string")), ...boolean.map(declare("boolean"))]),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const result: Record<string, unknown> = {};
  const rest: string[] = [];
  for (const name of boolean) result[name] = false;
  for (const token of tokens) {
    if (token.kind === "positional") {
      if (!unknown || unknown(token.value) !== false) rest.push(token.value);
    } else if (token.kind === "option") {
      const known = string.includes(token.name) || boolean.includes(token.name);
      if (!known && unknown && unknown(token.rawName, token.name, token.value) === false) continue;
      result[token.name] = boolean.includes(token.name) ? token.value !== "false" : token.value ?? "";
    }
  }
  return { ...result, _: rest };
}
