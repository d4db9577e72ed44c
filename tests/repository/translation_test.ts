/**
 * The Chinese README has the content of the English one, as far as a program can compare them: the same
 * headings, code blocks, tables, lists, paragraphs, inline code, numbers and links.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";

/** The parts of one section that a translation does not change, in an order that all languages share. */
interface Section {
  readonly level: number;
  /** Code blocks with their fences, and with a comment in the line before. */
  readonly blocks: readonly string[];
  /** For each table row, list item and paragraph: its kind, its inline code and its numbers. */
  readonly pieces: readonly (readonly string[])[];
  /** The targets of links, without those within the file, whose headings are translated. */
  readonly links: readonly string[];
}

const FENCED = /(?:^<!--[^\n]*-->\n)?^```.*?^```$/gms;
const LINK = /\]\(([^)]*)\)/g;

/** Returns the sections of a Markdown file, each from a heading to the next. */
function sections(markdown: string): Section[] {
  const blocks: string[] = [];
  // Code blocks come out first: a comment line in a shell looks like a heading.
  const text = markdown.replaceAll(FENCED, (block) => `\u0000${blocks.push(block) - 1}\u0000`);
  return text.split(/^(?=#+ )/m).map((section) => ({
    level: /^#*/.exec(section)![0].length,
    blocks: [...section.matchAll(/\0(\d+)\0/g)].map(([, index]) => blocks[Number(index)]!),
    pieces: section.replaceAll(/\0\d+\0/g, "").split(/\n\s*\n|\n(?=[-|] ?)/).map(unchanged),
    links: [...section.matchAll(LINK)].map(([, link]) => link!)
      .filter((link) => !link.startsWith("#") && !link.startsWith("README")).sort(),
  }));
}

/** Returns the kind of a paragraph, an item or a table row, and its parts that no translation changes. */
function unchanged(piece: string): string[] {
  const kind = /^(?:[#|-]|<!--)?/.exec(piece)![0];
  const columns = kind === "|" ? [`${piece.split(/(?<!\\)\|/).length - 2} columns`] : [];
  const code = [...piece.matchAll(/`([^`]+)`/g)].map(([, text]) => text!.replaceAll(/\s+/g, " "));
  const prose = piece.replaceAll(/`[^`]+`/g, "").replaceAll(LINK, "");
  const numbers = [...prose.matchAll(/\d+(?:[.,]\d+)*/g)].map(([number]) => number);
  return [kind, ...columns, ...code.sort(), ...numbers.sort()];
}

const read = (name: string): Promise<string> => Deno.readTextFile(new URL(name, ROOT));

Deno.test("translation: the Chinese README has the same headings, code, tables, lists, numbers and links", async () => {
  const english = sections(await read("README.md"));
  const chinese = sections(await read("README.zh-CN.md"));
  assert(english.length > 5, "the headings are found");
  assertEquals(chinese.map(({ level }) => level), english.map(({ level }) => level));
  for (const [index, section] of english.entries()) assertEquals(chinese[index], section);
});

const SAMPLE = "# A\n\nFive `x y` and 7, [see](docs/B.md#c).\n\n```sh\n# no heading\n```\n\n" +
  "## B\n\n| a | b |\n| --- | --- |\n| `--c` | 1.5 |\n\n- one\n- two [A](#a)\n";

Deno.test("translation: finds a changed heading, code, number, row, column, item or link", () => {
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

Deno.test("translation: accepts other words, another order and links to other headings", () => {
  const other = SAMPLE
    .replace("Five `x y` and 7, [see](docs/B.md#c).", "[B](docs/B.md#c): 7 und fünf\n`x\ny`.")
    .replace("- one", "- eins").replace("[A](#a)", "[Ä](#ä)");
  assertNotEquals(other, SAMPLE);
  assertEquals(sections(other), sections(SAMPLE));
});
