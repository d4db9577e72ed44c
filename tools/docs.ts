/**
 * Writes the generated parts of the documentation: in every Markdown file, the text between `<!-- generated:
 * NAME -->` and `<!-- /generated -->`. Use: `deno task docs`. With `--check` it only reports files that are
 * out of date.
 */
import { formerFlagOf, renamedOptions } from "../lib/config/former_names.ts";
import { optionsTables } from "../lib/config/help.ts";
import { flagOf } from "../lib/config/options.ts";
import type { Schema } from "../lib/server/protocol/validators.ts";
import { requestTable } from "../lib/server/handlers/request_table.ts";

const EXIT_STALE = 1; // with --check: a file is out of date
const EXIT_USAGE = 2;

const REGION = /^<!-- generated: (.*?) -->\n([^]*?)^<!-- \/generated -->$/gm;
const OPENING = /^<!-- generated: /gm;

const specs = [...requestTable.values()];

/** The functions that generate a part, by the name in its marker. */
const generators: ReadonlyMap<string, () => string> = new Map([
  ["options by group", optionsTables],
  ["renamed options", renamedTable],
  ["requests", requestsTable],
  ...specs.map((spec) => [`fields of ${spec.name}`, () => fieldsTable(spec.fields)] as const),
]);

/** The part that stays as it is: `deno task bench` measures and writes it. */
const MEASURED = "bench";

/**
 * Returns the text with all its generated parts up to date. Throws an Error, to be shown, if a marker has an
 * unknown name or no end.
 */
export function refreshed(markdown: string): string {
  let regions = 0;
  const fresh = markdown.replace(REGION, (part, name: string) => {
    regions++;
    if (name === MEASURED) return part;
    const generate = generators.get(name);
    if (!generate) {
      throw new Error(`unknown generated part "${name}"; known: ${[...generators.keys()].join(", ")}`);
    }
    return `<!-- generated: ${name} -->\n${generate()}<!-- /generated -->`;
  });
  if (regions !== (markdown.match(OPENING)?.length ?? 0)) {
    throw new Error("a generated part has no <!-- /generated --> after it");
  }
  return fresh;
}

/** Yields the Markdown files of a folder and its subfolders, without hidden ones and installed packages. */
export async function* markdownFiles(folder: URL): AsyncGenerator<URL> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(folder)) {
    if (name.startsWith(".") || name === "node_modules") continue;
    if (isDirectory) yield* markdownFiles(new URL(`${encodeURIComponent(name)}/`, folder));
    else if (isFile && name.endsWith(".md")) yield new URL(encodeURIComponent(name), folder);
  }
}

/** Returns the table of renamed options, one in a row. */
function renamedTable(): string {
  return table(
    ["former name", "name"],
    renamedOptions.map((name) => [`\`--${formerFlagOf(name)}\``, `\`--${flagOf(name)}\``]),
  );
}

/** Returns the table of requests, one in a row. */
function requestsTable(): string {
  return table(
    ["msgid", "name", "what it does", "fields", "reply", "login", "classic"],
    specs.map((spec) => [
      `${spec.msgid}`,
      `[${spec.name}](#${spec.name.toLowerCase()})`,
      spec.summary,
      Object.entries(spec.fields).map(([name, { optional }]) => `\`${name}${optional ? "?" : ""}\``).join(
        " ",
      ),
      replyOf(spec),
      spec.needsLogin ? "needed" : "",
      spec.classic ? "yes" : "",
    ]),
  );
}

function replyOf({ reply }: typeof specs[number]): string {
  return reply === undefined ? "none" : `${reply}`;
}

/** Returns the table of one request's fields, one in a row. */
function fieldsTable(fields: Schema): string {
  const rows = Object.entries(fields).map((
    [name, { optional, description }],
  ) => [`\`${name}\``, description, optional ? "optional" : "required"]);
  return rows.length === 0 ? "No fields.\n" : table(["field", "must be", ""], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  return line(head) + line(head.map(() => "---")) + rows.map(line).join("");
}

async function main(args: readonly string[]): Promise<number> {
  const print = (text: string) => Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  const check = args[0] === "--check";
  if (args.length > (check ? 1 : 0)) {
    print("usage: docs.ts [--check]");
    return EXIT_USAGE;
  }
  let stale = false;
  for await (const file of markdownFiles(new URL("../", import.meta.url))) {
    const text = await Deno.readTextFile(file);
    let fresh: string;
    try {
      fresh = refreshed(text);
    } catch (error) {
      print(`${file.pathname}: ${(error as Error).message}`);
      return EXIT_USAGE;
    }
    if (fresh === text) continue;
    stale = true;
    if (check) print(`${file.pathname} is out of date: deno task docs`);
    else {
      await Deno.writeTextFile(file, fresh);
      print(`updated ${file.pathname}`);
    }
  }
  return check && stale ? EXIT_STALE : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
