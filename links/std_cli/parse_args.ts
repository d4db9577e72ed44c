/**
 * Stands in for JSR's @std/cli/parse-args where JSR can't be reached: the same signature for what this project
 * uses of it (string and boolean options, aliases, a callback for the unknown), thin over the runtime's
 * `node:util`. Take the `links` entry out of deno.json and JSR's own package serves in its place, unchanged.
 */
import { parseArgs as parse } from "node:util";

/** What {@link parseArgs} is told of the options. */
export interface ParseOptions {
  /** Options that take a value. */
  string?: readonly string[];
  /** Options that take none. */
  boolean?: readonly string[];
  /** One-letter names. */
  alias?: Record<string, string>;
  /** Called for each argument that is none of these; false leaves it out of the result. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** The options by name, and under `_` what was not an option. */
export type Args = { _: (string | number)[]; [name: string]: unknown };

/**
 * Reads a command line. A value follows its option after a space or `=`, and of several the last one counts; `--`
 * ends the options.
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
