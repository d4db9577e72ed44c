/** The texts about the options: `--help` at every width, and the tables of docs/CONFIGURATION.md. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { adminHelp } from "../../lib/admin/commands.ts";
import { formerFlagOf, renamedOptions } from "../../lib/config/former_names.ts";
import { definition, help, helpWidth, optionsTables, wrap } from "../../lib/config/help.ts";
import { commonOptions, flagOf, groups, options, variableOf } from "../../lib/config/options.ts";

const MIN_WIDTH = 50; // columns of the narrowest help
const MAX_WIDTH = 100; // columns of the widest help

const helpAt = (kind: "common" | "all", width: number) => help(kind, width, adminHelp(width));

Deno.test("help: has no line over the width, at any width from 50 to 100 columns", () => {
  for (let width = MIN_WIDTH; width <= MAX_WIDTH; width++) {
    for (const kind of ["common", "all"] as const) {
      for (const line of helpAt(kind, width).split("\n")) {
        assert(line.length <= width, `${width}: ${line}`);
      }
    }
  }
});

Deno.test("help: is 80 columns wide without a terminal, and ends with one line break", () => {
  if (!Deno.stdout.isTerminal()) assertEquals(helpWidth(), 80);
  for (const kind of ["common", "all"] as const) {
    assertEquals(helpAt(kind, 80).split("\n").filter((line) => line.length > 80), []);
    assertMatch(helpAt(kind, 80), /[^\n]\n$/);
  }
});

Deno.test("help: lists the common options without =all, and every option in its group with it", () => {
  const [common, all] = [helpAt("common", 80), helpAt("all", 80)];
  assertEquals([...groups.values()].flat().toSorted(), Object.keys(options).toSorted(), "one group each");
  for (const name of [...groups.values()].flat()) {
    const flag = new RegExp(`^  --${flagOf(name)}(?:$| |\\[=)`, "m");
    assertMatch(all, flag);
    assertEquals(flag.test(common), commonOptions.includes(name), name);
    assertStringIncludes(optionsTables(), `\`${variableOf(name)}\``);
  }
  for (const title of groups.keys()) {
    assertStringIncludes(all, `\n${title}:\n  --`);
    assertStringIncludes(optionsTables(), `## ${title}\n\n|`);
  }
  for (const text of [common, all]) {
    for (const word of ["--upgrade-check", "--version", "--help=all", "main.ts restore --from COPY"]) {
      assertStringIncludes(text, word);
    }
  }
});

Deno.test("help: leaves former names out", () => {
  for (const name of renamedOptions) {
    for (const text of [helpAt("all", 80), optionsTables()]) {
      assertEquals(text.includes(`--${formerFlagOf(name)} `), false, name);
    }
  }
});

Deno.test("help: describes each option in sentences of at most 30 words", () => {
  for (const [name, { description }] of Object.entries(options)) {
    assertMatch(description, /^[A-Z][^]*\.$/, name);
    for (const sentence of description.split(/(?<=\.) /)) {
      assert(sentence.split(" ").length <= 30, `${name}: ${sentence}`);
    }
  }
});

Deno.test("help: puts a description beside a short term, and below a long one", () => {
  assertEquals(definition("--a", "Says a.", 80), `  --a${" ".repeat(23)}Says a.`);
  assertEquals(
    definition(`--${"a".repeat(30)}`, "Says a.", 80),
    `  --${"a".repeat(30)}\n${" ".repeat(28)}Says a.`,
  );
  assertEquals(definition("--a", "Says a.", 50), "  --a\n      Says a.");
  assertEquals(wrap("one two three", 7), "one two\nthree");
  assertEquals(wrap("one two three", 9, 2), "  one two\n  three");
  assertEquals(wrap("one\u00a0two three", 7), "one two\nthree", "a no-break space stays in its line");
});
