/** The benchmark: its statistics, its table, and the shortest possible run. */
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { withMeasured } from "./document.ts";
import { preloadDatabase } from "./preload.ts";
import { spread } from "./statistics.ts";
import { onceOnlyScenarios, preloadedScenarios, scenarios } from "./scenarios.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { ROOT } from "../harness/program.ts";

const USAGE = 2; // the exit code for an invalid command line

async function bench(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "tests/bench/main.ts", ...args],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("bench: computes the median and the range", () => {
  assertEquals(spread([5]), { median: 5, least: 5, most: 5 });
  assertEquals(spread([3, 10, 1]), { median: 3, least: 1, most: 10 });
  assertEquals(spread([4, 1, 10, 2]), { median: 3, least: 1, most: 10 });
  assertThrows(() => spread([]), Error, "nothing");
});

Deno.test("bench: replaces the measured part of a document", () => {
  const before = "one\n<!-- generated: bench -->\nold\n<!-- /generated -->\ntwo\n";
  const after = "one\n<!-- generated: bench -->\n$& new\n<!-- /generated -->\ntwo\n";
  assertEquals(withMeasured(before, "$& new\n"), after);
  assertThrows(() => withMeasured("one\n", "new\n"), Error, "no region");
});

Deno.test("bench: --help names every scenario, and the names are unique", async () => {
  const { code, stdout } = await bench("--help");
  assertEquals(code, 0);
  const names = [...scenarios, ...preloadedScenarios].map(({ name }) => name).concat(onceOnlyScenarios);
  for (const name of names) assertStringIncludes(stdout, `  ${name} `);
  assertEquals(new Set(names).size, names.length);
});

Deno.test("bench: refuses an unknown scenario, and --write with --only", async () => {
  for (const args of [["--only", "rest"], ["--only", "idle", "--write"], ["--repeats", "0"]]) {
    assertEquals((await bench(...args)).code, USAGE);
  }
});

Deno.test("bench: the preload fills a database with the numbers asked for", async () => {
  const db = openDatabase(":memory:");
  await preloadDatabase({ users: 2_004, messages: 3_006 }, (sql) => db.exec(sql));
  const count = (what: string) => db.prepare(`SELECT count(*) AS n FROM ${what}`).get()!.n;
  assertEquals(count("User"), 2_004);
  assertEquals(count("Message JOIN Conversation USING (low, high) WHERE seq <= last_seq"), 3_006);
  assertEquals(count("MemberCursor JOIN Conversation USING (low, high) WHERE seq = last_seq"), 2_004);
  assertEquals(count("OfflineMessage"), 0);
  db.close();
});

Deno.test("bench: measures one scenario once", async () => {
  const { code, stdout } = await bench("--only", "pair-embedded", "--repeats", "1", "--seconds", "1");
  assertEquals(code, 0);
  assertMatch(stdout, /^.*Linux .*; Deno .*; \d{4}-\d\d-\d\d\. Median of 1 runs of 1 s each/);
  assertMatch(stdout, /^\| embedded, 1 pair, 1 in flight \| [\d,.]+ \(.*\) messages \|.*\| 0 \|$/m);
});
