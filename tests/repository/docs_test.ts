/** The generated parts of the documentation are what the code says now. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { optionsTable } from "../../lib/config/config.ts";
import { requestTable } from "../../lib/server/handlers/request_table.ts";
import { markdownFiles, refreshed } from "../../tools/docs.ts";
import { ROOT } from "../harness/program.ts";

const PROTOCOL = new URL("docs/PROTOCOL.md", ROOT);

Deno.test("every Markdown file is up to date with the code", async () => {
  const seen: string[] = [];
  for await (const file of markdownFiles(ROOT)) {
    const text = await Deno.readTextFile(file);
    assertEquals(refreshed(text), text, `${file.pathname} is out of date: deno task docs`);
    seen.push(file.href);
  }
  assert(seen.includes(PROTOCOL.href), "the protocol's description is among them");
});

Deno.test("the protocol's description has the table of requests, and a section with the fields of each", async () => {
  const text = await Deno.readTextFile(PROTOCOL);
  assertStringIncludes(text, "<!-- generated: requests -->");
  for (const { name } of requestTable.values()) {
    assertStringIncludes(text, `\n### ${name}\n`);
    assertStringIncludes(text, `<!-- generated: fields of ${name} -->`);
  }
});

for (const path of ["docs/PROTOCOL.md", "README.md", "README.zh-CN.md"]) {
  Deno.test(`every link inside ${path} leads to a heading`, async () => {
    const text = await Deno.readTextFile(new URL(path, ROOT));
    // As GitHub makes them: lower case, spaces to dashes, other punctuation away.
    const anchors = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, "").replaceAll(" ", "-")
    );
    const links = [...text.matchAll(/\]\(#([^)]*)\)/g)].map(([, link]) => link!);
    assert(links.length > 0);
    for (const link of links) assert(anchors.includes(link), `there is no heading for #${link}`);
  });
}

Deno.test("what stands between the markers is replaced, and nothing else", () => {
  const stale = "before\n<!-- generated: options -->\nold\n<!-- /generated -->\nafter\n";
  const fresh = refreshed(stale);
  assertEquals(fresh, `before\n<!-- generated: options -->\n${optionsTable()}<!-- /generated -->\nafter\n`);
  assertEquals(refreshed(fresh), fresh);
  assertNotEquals(fresh, stale);
  assertEquals(refreshed("no markers\n"), "no markers\n");
});

Deno.test("a marker that names nothing, or has no end, is an error", () => {
  assertThrows(() => refreshed("<!-- generated: wishes -->\n<!-- /generated -->\n"), Error, "wishes");
  assertThrows(() => refreshed("<!-- generated: options -->\n"), Error, "/generated");
});
