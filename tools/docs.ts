/**
 * Writes the parts of the documentation that follow from the code: in every Markdown file, what stands between
 * `<!-- generated: NAME -->` and `<!-- /generated -->`. Use: `deno task docs`, with `--check` to only look.
 */
import { optionsTable } from "../lib/config/config.ts";
import type { Schema } from "../lib/server/protocol/validators.ts";
import { type RequestSpec, requestTable } from "../lib/server/handlers/request_table.ts";

const EXIT_STALE = 1; // with --check: what is written is not what the code says
const EXIT_USAGE = 2;

const REGION = /^<!-- generated: (.*?) -->\n([^]*?)^<!-- \/generated -->$/gm;
const OPENING = /^<!-- generated: /gm;

const specs = [...requestTable.values()];

/** What can be generated, by the name in the marker. */
const generators: ReadonlyMap<string, () => string> = new Map([
  ["options", optionsTable],
  ["requests", requestsTable],
  ...specs.map((spec) => [`fields of ${spec.name}`, () => fieldsTable(spec.fields)] as const),
]);

/** What `deno task bench` writes: it follows from measuring, so it stays as it is. */
const MEASURED = "bench";

/**
 * The text with all its generated parts as they should be. Throws an Error, to be shown, if a marker names
 * nothing that can be generated or has no end.
 */
export function refreshed(markdown: string): string {
  let regions = 0;
  const fresh = markdown.replace(REGION, (part, name: string) => {
    regions++;
    if (name === MEASURED) return part;
    const generate = generators.get(name);
    if (!generate) {
      throw new Error(`nothing is called "${name}"; there are: ${[...generators.keys()].join(", ")}`);
    }
    return `<!-- generated: ${name} -->\n${generate()}<!-- /generated -->`;
  });
  if (regions !== (markdown.match(OPENING)?.length ?? 0)) {
    throw new Error("a generated part has no <!-- /generated --> behind it");
  }
  return fresh;
}

/** The Markdown files in a folder and the folders in it, hidden ones and other people's code aside. */
export async function* markdownFiles(folder: URL): AsyncGenerator<URL> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(folder)) {
    if (name.startsWith(".") || name === "node_modules") continue;
    if (isDirectory) yield* markdownFiles(new URL(`${encodeURIComponent(name)}/`, folder));
    else if (isFile && name.endsWith(".md")) yield new URL(encodeURIComponent(name), folder);
  }
}

/** All requests, one in a row. */
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

function replyOf({ reply }: RequestSpec): string {
  return reply === undefined ? "none" : `${reply}`;
}

/** The fields of one request, one in a row. */
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
      print(`${file.pathname} is written anew`);
    }
  }
  return check && stale ? EXIT_STALE : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
