/** CHANGELOG.md has the former name of each option that still works, and the sections of its format. */
import { assertEquals } from "@std/assert";
import { formerFlagOf, renamedOptions } from "../../lib/config/former_names.ts";
import { flagOf } from "../../lib/config/options.ts";
import { ROOT } from "../harness/program.ts";

const changelog = await Deno.readTextFile(new URL("CHANGELOG.md", ROOT));

Deno.test("changelog: lists each renamed option with both names", () => {
  const rows = [...changelog.matchAll(/^\| `--([\w-]+)` \| `--([\w-]+)` \|$/gm)].map((
    [, old, now],
  ) => [old, now]);
  const expected = renamedOptions.map((name) => [formerFlagOf(name), flagOf(name)]);
  assertEquals(rows.sort(), expected.sort());
});

Deno.test("changelog: has Unreleased first, then versions, newest first, each with known kinds of changes", () => {
  const versions = [...changelog.matchAll(/^## \[([^\]]+)\](?: - \d{4}-\d{2}-\d{2})?$/gm)].map((
    [, version],
  ) => version!);
  assertEquals(versions[0], "Unreleased");
  const released = versions.slice(1);
  const newestFirst = released.toSorted((a, b) => b.localeCompare(a, "en", { numeric: true }));
  assertEquals(released, newestFirst);
  const kinds = new Set([...changelog.matchAll(/^### (.*)$/gm)].map(([, kind]) => kind!));
  const known = new Set(["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]);
  assertEquals([...kinds.difference(known)], []);
});
