/** The generated parts of the documentation are up to date. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { optionsTables } from "../../lib/config/help.ts";
import { requestTable } from "../../lib/server/handlers/request_table.ts";
import { markdownFiles, refreshed } from "../../tools/docs.ts";
import { ROOT } from "../harness/program.ts";

const PROTOCOL = new URL("docs/PROTOCOL.md", ROOT);
const CONFIGURATION = new URL("docs/CONFIGURATION.md", ROOT);

Deno.test("docs: every Markdown file is up to date with the code", async () => {
  const seen: string[] = [];
  for await (const file of markdownFiles(ROOT)) {
    const text = await Deno.readTextFile(file);
    assertEquals(refreshed(text), text, `${file.pathname} is out of date: deno task docs`);
    seen.push(file.href);
  }
  for (const file of [PROTOCOL, CONFIGURATION]) assert(seen.includes(file.href), file.href);
});

Deno.test("docs: PROTOCOL.md has the table of requests, and a section with the fields of each", async () => {
  const text = await Deno.readTextFile(PROTOCOL);
  assertStringIncludes(text, "<!-- generated: requests -->");
  for (const { name } of requestTable.values()) {
    assertStringIncludes(text, `\n### ${name}\n`);
    assertStringIncludes(text, `<!-- generated: fields of ${name} -->`);
  }
});

for (const path of ["docs/PROTOCOL.md", "README.md", "README.zh-CN.md"]) {
  Deno.test(`docs: every link inside ${path} leads to a heading`, async () => {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    // As GitHub forms them: lower case, dashes for spaces, no other punctuation.
    const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
    );
    const links = [...text.matchAll(/\]\(#([^)]*)\)/g)].map(([, link]) => link!);
    assert(links.length > 0);
    for (const link of links) assert(anchors.includes(link), `there is no heading for #${link}`);
  });
}

Deno.test("docs: CONFIGURATION.md has the options by group, and the renamed options", async () => {
  const text = await Deno.readTextFile(CONFIGURATION);
  for (const part of ["options by group", "renamed options"]) {
    assertStringIncludes(text, `<!-- generated: ${part} -->`);
  }
});

Deno.test("docs: replaces the text between markers, and nothing else", () => {
  const stale = "before\n<!-- generated: options by group -->\nold\n<!-- /generated -->\nafter\n";
  const fresh = refreshed(stale);
  assertEquals(
    fresh,
    `before\n<!-- generated: options by group -->\n${optionsTables()}<!-- /generated -->\nafter\n`,
  );
  assertEquals(refreshed(fresh), fresh);
  assertNotEquals(fresh, stale);
  assertEquals(refreshed("no markers\n"), "no markers\n");
  const measured = "<!-- generated: bench -->\n1\n<!-- /generated -->\n";
  assertEquals(refreshed(measured), measured);
});

Deno.test("docs: reports a marker with an unknown name or without an end", () => {
  assertThrows(() => refreshed("<!-- generated: wishes -->\n<!-- /generated -->\n"), Error, "wishes");
  assertThrows(() => refreshed("<!-- generated: requests -->\n"), Error, "/generated");
});
