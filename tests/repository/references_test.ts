/** Checks that the paths, symbols, options, tests and headings that documents name exist. */
import { assert, assertEquals } from "@std/assert";
import { basename, dirname } from "node:path/posix";
import { flagOf, options } from "../../lib/config/options.ts";
import { ROOT } from "../harness/program.ts";
import { documents } from "./documents.ts";
import { missingTests } from "./test_names.ts";

/** Options of other programs, such as Deno, git and mysqldump. */
const OF_OTHERS = ["filter", "frozen", "global", "no-check", "single-transaction"];

/** The name of a source file without its folder. */
const SOURCE_FILE = /`(\w+\.ts)`/g;

/** A symbol and the file that has it. */
const SYMBOL_IN_FILE = /`([\w.]+)` in `(?:[\w/]+\/)?(\w+\.ts)`/g;

/** Folders of source files: a path in a document begins with one of them. */
const SOURCE_PATH = /`((?:lib|tests|tools|deploy|docs|examples|nginx)\/[\w./*-]*)/g;

const exists = (path: string) => Deno.stat(new URL(path, ROOT)).then(() => true, () => false);

/** All source files by their names without folders. Several files may have one name. */
async function sourceFiles(): Promise<ReadonlyMap<string, readonly URL[]>> {
  const files = [new URL("main.ts", ROOT), new URL("client.ts", ROOT)];
  const readFolder = async (folder: URL): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isDirectory) await readFolder(new URL(`${name}/`, folder));
      else files.push(new URL(name, folder));
    }
  };
  for (const folder of ["lib/", "tests/", "tools/"]) await readFolder(new URL(folder, ROOT));
  return Map.groupBy(files, ({ pathname }) => basename(pathname));
}

Deno.test("documents: name only paths that exist", async () => {
  const files = await sourceFiles();
  for (const [document, text] of await documents()) {
    const missing = [...text.matchAll(SOURCE_FILE)].map(([, name]) => name!).filter((name) =>
      !files.has(name)
    );
    for (const [, path] of text.matchAll(SOURCE_PATH)) {
      if (!await exists(path!.replace(/[^/]*\*.*$/, ""))) missing.push(path!);
    }
    for (const [, link] of text.matchAll(/\]\((?!\w+:)([^)#]+)/g)) {
      if (!await exists(`${dirname(document)}/${link}`)) missing.push(link!);
    }
    assertEquals(missing, [], document);
  }
});

Deno.test("documents: name only symbols that their files have", async () => {
  const files = await sourceFiles();
  let count = 0;
  for (const [document, text] of await documents()) {
    for (const [whole, symbol, name] of text.matchAll(SYMBOL_IN_FILE)) {
      count++;
      const sources = await Promise.all((files.get(name!) ?? []).map((file) => Deno.readTextFile(file)));
      const word = new RegExp(`\\b${RegExp.escape(symbol!.split(".").at(-1)!)}\\b`);
      assert(sources.some((source) => word.test(source)), `${document}: ${whole}`);
    }
  }
  assert(count > 0);
});

Deno.test("documents: name only options that exist", async () => {
  const known = new Set([...Object.keys(options).map(flagOf), ...OF_OTHERS]);
  for (const file of [...(await sourceFiles()).values()].flat()) {
    if (file.pathname.includes("/lib/config/")) continue; // it also has the former names of options
    const source = await Deno.readTextFile(file);
    for (const [, flag, name] of source.matchAll(/--([a-z][a-z-]*)|"([a-z][a-z-]*)"/g)) {
      known.add(flag ?? name!);
    }
  }
  for (const [document, text] of await documents()) {
    const code = [...text.matchAll(/`[^`]*`/g)].join(" ");
    const flags = [...code.matchAll(/(?<![\w-])--([a-z][a-z-]*)/g)].map(([, flag]) => flag!);
    assertEquals(flags.filter((flag) => !known.has(flag)), [], document);
  }
});

Deno.test("documents: name only tests that exist", async () => {
  for (const [document, text] of await documents()) {
    assertEquals(await missingTests(text), [], document);
  }
});

Deno.test("documents: every link to a heading leads to one", async () => {
  const texts = await documents();
  for (const [document, text] of texts) {
    for (const [, file, anchor] of text.matchAll(/\]\((?!\w+:)([^)#]*)#([^)]+)\)/g)) {
      const target = file === ""
        ? document
        : new URL(file!, new URL(document, ROOT)).href.slice(ROOT.href.length);
      const targetText = texts.get(target) ?? await Deno.readTextFile(new URL(target, ROOT));
      assert(headingsOf(targetText).has(anchor!), `${document}: there is no heading for ${file}#${anchor}`);
    }
  }
});

/** Returns the anchors of headings as GitHub makes them: lower case, dashes for spaces, no other punctuation. */
function headingsOf(markdown: string): Set<string> {
  return new Set(
    [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
    ),
  );
}
