/** Checks the documents against the writing rules of CONTRIBUTING.md, and the paths in them against the repository. */
import { assert, assertEquals } from "@std/assert";
import { dirname } from "node:path/posix";
import { ROOT } from "../harness/program.ts";
import { missingTests } from "./test_names.ts";
import { cellsIn, faultsIn, sentencesIn, wordsOf } from "./prose.ts";

/** Documents that must follow the rules. */
const CHECKED = ["README.md", "CONTRIBUTING.md", ...await markdownIn("docs")];

/** Documents that do not follow them yet. */
const UNFINISHED = ["README.md", "docs/ARCHITECTURE.md"];

/** The name of a source file without its folder. */
const SOURCE_FILE = /`(\w+\.ts)`/g;

/** Folders of source files: a path in a document begins with one of them. */
const SOURCE_PATH = /`((?:lib|tests|tools|deploy|docs|examples|nginx)\/[\w./*-]*)/g;

async function markdownIn(folder: string): Promise<string[]> {
  const names = await Array.fromAsync(Deno.readDir(new URL(`${folder}/`, ROOT)), ({ name }) => name);
  return names.filter((name) => name.endsWith(".md")).sort().map((name) => `${folder}/${name}`);
}

const exists = (path: string) => Deno.stat(new URL(path, ROOT)).then(() => true, () => false);

/** The names of all source files, without their folders. */
async function sourceFiles(): Promise<ReadonlySet<string>> {
  const names = new Set(["main.ts", "client.ts"]);
  const readFolder = async (folder: URL): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isDirectory) await readFolder(new URL(`${name}/`, folder));
      else names.add(name);
    }
  };
  for (const folder of ["lib/", "tests/", "tools/"]) await readFolder(new URL(folder, ROOT));
  return names;
}

/** The texts of the checked documents that exist. */
async function documents(): Promise<ReadonlyMap<string, string>> {
  const texts = new Map<string, string>();
  for (const path of CHECKED) {
    if (await exists(path)) texts.set(path, await Deno.readTextFile(new URL(path, ROOT)));
  }
  return texts;
}

Deno.test("documents: follow the writing rules", async () => {
  const texts = await documents();
  assert(texts.has("docs/PROTOCOL.md"), "the documents are found");
  for (const [path, text] of texts) {
    if (!UNFINISHED.includes(path)) assertEquals(faultsIn(text), [], path);
  }
});

Deno.test("documents: name only paths that exist", async () => {
  const names = await sourceFiles();
  for (const [document, text] of await documents()) {
    if (UNFINISHED.includes(document)) continue;
    const missing = [...text.matchAll(SOURCE_FILE)].map(([, name]) => name!).filter((name) =>
      !names.has(name)
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

Deno.test("documents: name only tests that exist", async () => {
  for (const [document, text] of await documents()) {
    if (!UNFINISHED.includes(document)) assertEquals(await missingTests(text), [], document);
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

/** The anchors of a document's headings as GitHub makes them: lower case, dashes for spaces, no other punctuation. */
function headingsOf(markdown: string): Set<string> {
  return new Set(
    [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
    ),
  );
}

Deno.test("prose: sentences end at a mark before a capital letter", () => {
  const text =
    "# A heading\n\nOne, e.g. this one.\nTwo (a `b. C` d)? Three\n\n- four. Five: [six](a.md)\n\n| no | table |\n";
  assertEquals(sentencesIn(text).map((sentence) => sentence.text), [
    "A heading",
    "One, e.g. this one.",
    "Two (a CODE d)?",
    "Three",
    "four.",
    "Five: six",
  ]);
  assertEquals(sentencesIn(text).at(-1)!.line, 6);
  assertEquals(cellsIn(text).map((cell) => cell.text), ["no", "table"]);
});

Deno.test("prose: code blocks, generated regions and comments have no sentences", () => {
  const text = "```sh\nA b.\n```\n<!-- c. D -->\n<!-- generated: x -->\n| e |\nF.\n<!-- /generated -->\nG\n";
  assertEquals(sentencesIn(text), [{ line: 9, text: "G" }]);
  assertEquals(cellsIn(text), []);
});

Deno.test("prose: a link, inline code and a number are one word each", () => {
  assertEquals(wordsOf("A CODE, 16,000 – and/or 1/17").length, 7);
});

Deno.test("prose: a long sentence, a forbidden word, a contraction and a clause as a subject are faults", () => {
  const long = `${"word ".repeat(31).trim()}.`;
  for (
    const fault of [long, "Nobody knows.", "It doesn't.", "Who joins a group gets it.", "| a | whoever |"]
  ) {
    assertEquals(faultsIn(`${fault}\n`).length, 1, fault);
  }
  const right = `${"word ".repeat(30).trim()}.`;
  for (const text of [right, "A user's name.", "Who may log in?", 'It prints "nobody".', "`nobody`"]) {
    assertEquals(faultsIn(`${text}\n`), [], text);
  }
});
