/** Every claim of docs/SECURITY.md names a test that there is. */
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";

const DOCUMENT = new URL("docs/SECURITY.md", ROOT);
const REFERENCE = /`(tests\/[\w./-]+\.ts)`: "([^"]+)"/g;
const CANT = "no test"; // and why, in the document

Deno.test("security: every test that the review names is there, by its name", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const references = [...text.matchAll(REFERENCE)];
  assert(references.length > 20, `${references.length}`);
  const missing: string[] = [];
  for (const [, file, name] of references) {
    const source = await Deno.readTextFile(new URL(file!, ROOT)).catch(() => "");
    // A name that is put together by a template may be in two parts.
    const isThere = name!.split(": ").some((_, at, parts) => source.includes(parts.slice(at).join(": ")));
    if (!isThere) missing.push(`${file}: ${name}`);
  }
  assertEquals(missing, []);
});

Deno.test("security: no claim of a table is without its test, or the reason why", async () => {
  const text = await Deno.readTextFile(DOCUMENT);
  const tables = text.split("\n## ").filter((part) => part.includes("| cannot | test |"));
  assertEquals(tables.length, 5);
  for (const table of tables) {
    const rows = table.split("\n").filter((line) => line.startsWith("| ")).slice(2);
    assert(rows.length > 0);
    for (const row of rows) {
      const last = row.split("|").at(-2)!;
      assert(last.includes("`tests/") || last.includes(CANT), row);
    }
  }
});
