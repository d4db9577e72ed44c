/** Binds every claim of docs/SECURITY.md to an existing test. A claim refers to its tests by footnotes. */
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";
import { missingTests } from "./test_names.ts";

const TABLES = 5; // one for each kind of attacker
const MIN_TESTS = 100; // a number far below it means that the pattern no longer matches
const UNTESTED = "no test: "; // followed by the reason

/** A footnote that names one test. */
const FOOTNOTE = /^\[\^(\d+)\]: `tests\/[\w./-]+\.ts`: "[^"]+"$/gm;
const REFERENCE = /\[\^(\d+)\](?!:)/g;

const text = await Deno.readTextFile(new URL("docs/SECURITY.md", ROOT));
const footnotes = [...text.matchAll(FOOTNOTE)];

Deno.test("security: every test that the document names exists", async () => {
  assert(footnotes.length > MIN_TESTS, `${footnotes.length}`);
  assertEquals(await missingTests(text), []);
});

Deno.test("security: every footnote is defined once and used", () => {
  const defined = footnotes.map(([, label]) => label!);
  const used = [...text.matchAll(REFERENCE)].map(([, label]) => label!);
  assertEquals(new Set(defined).size, defined.length, "a label is defined twice");
  assertEquals([...new Set(used)].sort(), defined.toSorted());
  assertEquals(text.match(/^\[\^/gm)?.length, defined.length, "a footnote does not name a test");
});

Deno.test("security: every row of a table of attacks has a test, or the reason why not", () => {
  const tables = text.split("\n## ").filter((part) => part.includes("| cannot | test |"));
  assertEquals(tables.length, TABLES);
  for (const table of tables) {
    const rows = table.split("\n").filter((line) => line.startsWith("| ")).slice(2);
    assert(rows.length > 0);
    for (const row of rows) {
      const last = row.split("|").at(-2)!.trim();
      assert(/^(?:\[\^\d+\] ?)+$/.test(last) || last.startsWith(UNTESTED), row);
    }
  }
});
