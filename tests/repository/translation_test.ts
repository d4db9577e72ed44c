/**
 * The Chinese README says what the English one says, as far as a program can compare them: the same headings, code
 * blocks, tables, lists, paragraphs, pieces of code, numbers and links.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";

/** What a translation leaves as it is in one section, in an order that doesn't depend on the language. */
interface Section {
  readonly level: number;
  /** With their fences, and with a comment in the line before. */
  readonly blocks: readonly string[];
  /** Of each row of a table, of each item of a list and of each paragraph: its kind, and its code and numbers. */
  readonly pieces: readonly (readonly string[])[];
  /** The files and pages that links lead to. A link within the file leads to a translated heading. */
  readonly links: readonly string[];
}

const FENCED = /(?:^<!--[^\n]*-->\n)?^```.*?^```$/gms;
const LINK = /\]\(([^)]*)\)/g;

/** The parts of a Markdown file, from each heading to the next. */
function sections(markdown: string): Section[] {
  const blocks: string[] = [];
  // Set aside first: a line of a shell's comment looks like a heading.
  const text = markdown.replaceAll(FENCED, (block) => `\u0000${blocks.push(block) - 1}\u0000`);
  return text.split(/^(?=#+ )/m).map((section) => ({
    level: /^#*/.exec(section)![0].length,
    blocks: [...section.matchAll(/\0(\d+)\0/g)].map(([, index]) => blocks[Number(index)]!),
    pieces: section.replaceAll(/\0\d+\0/g, "").split(/\n\s*\n|\n(?=[-|] ?)/).map(unchanged),
    links: [...section.matchAll(LINK)].map(([, link]) => link!)
      .filter((link) => !link.startsWith("#") && !link.startsWith("README")).sort(),
  }));
}

/** What a paragraph, an item or a row of a table is, and what of it no translation changes. */
function unchanged(piece: string): string[] {
  const kind = /^(?:[#|-]|<!--)?/.exec(piece)![0];
  const columns = kind === "|" ? [`${piece.split(/(?<!\\)\|/).length - 2} columns`] : [];
  const code = [...piece.matchAll(/`([^`]+)`/g)].map(([, text]) => text!.replaceAll(/\s+/g, " "));
  const prose = piece.replaceAll(/`[^`]+`/g, "").replaceAll(LINK, "");
  const numbers = [...prose.matchAll(/\d+(?:[.,]\d+)*/g)].map(([number]) => number);
  return [kind, ...columns, ...code.sort(), ...numbers.sort()];
}

const read = (name: string): Promise<string> => Deno.readTextFile(new URL(name, ROOT));

Deno.test("README: the Chinese one has the same headings, code, tables, lists, numbers and links", async () => {
  const english = sections(await read("README.md"));
  const chinese = sections(await read("README.zh-CN.md"));
  assert(english.length > 5, "the headings are found");
  assertEquals(chinese.map(({ level }) => level), english.map(({ level }) => level));
  for (const [index, section] of english.entries()) assertEquals(chinese[index], section);
});

const SAMPLE = "# A\n\nFive `x y` and 7, [see](docs/B.md#c).\n\n```sh\n# no heading\n```\n\n" +
  "## B\n\n| a | b |\n| --- | --- |\n| `--c` | 1.5 |\n\n- one\n- two [A](#a)\n";

Deno.test("README: sections differ with a heading, code, a number, a row, a column, an item or a link", () => {
  const known = sections(SAMPLE);
  assertEquals(known.map(({ level }) => level), [1, 2]);
  const changes = [
    ["## B", "# B"],
    ["# no heading", "# another comment"],
    ["`x y`", "`x z`"],
    ["7", "8"],
    ["docs/B.md#c", "docs/B.md#d"],
    ["| `--c` | 1.5 |\n", ""],
    ["| `--c` | 1.5 |", "| `--d` | 1.5 |"],
    ["| `--c` | 1.5 |", "| `--c` | 1.5 | |"],
    ["- one\n", ""],
    ["\n\n```sh", "\n\nMore.\n\n```sh"],
  ] as const;
  for (const [before, after] of changes) {
    assertNotEquals(sections(SAMPLE.replace(before, after)), known, `${before} to ${after}`);
  }
});

Deno.test("README: sections are the same in other words, in another order and with links to other headings", () => {
  const other = SAMPLE
    .replace("Five `x y` and 7, [see](docs/B.md#c).", "[B](docs/B.md#c): 7 und fünf\n`x\ny`.")
    .replace("- one", "- eins").replace("[A](#a)", "[Ä](#ä)");
  assertNotEquals(other, SAMPLE);
  assertEquals(sections(other), sections(SAMPLE));
});
