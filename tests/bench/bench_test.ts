/** The benchmark: its statistics, its table, and the shortest possible run. */
import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { withMeasured } from "./document.ts";
import type { Measurement } from "./measure.ts";
import { preloadDatabase } from "./preload.ts";
import { foreignScenarios, onceOnlyScenarios, preloadedScenarios, scenarios } from "./scenarios.ts";
import { optionLines, Setups } from "./setups.ts";
import { spread } from "./statistics.ts";
import { idleLine, table } from "./table.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { ROOT } from "../harness/program.ts";
import { startServer } from "../harness/server.ts";

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
  assertEquals(spread([NaN, 2, 1]), { median: 2, least: 1, most: NaN });
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

Deno.test("bench: refuses unknown scenarios, and options that exclude each other", async () => {
  for (
    const args of [
      ["--only", "rest"],
      ["--only", "idle", "--write"],
      ["--repeats", "0"],
      ["--against", "localhost"],
      ["--against", "localhost:1", "--all"],
      ["--against", "localhost:1", "--only", "idle"],
      ["--against", "localhost:1", "--dialect", "morse"],
      ["--dialect", "classic"],
      ["--pid", "1"],
    ]
  ) {
    assertEquals((await bench(...args)).code, USAGE, args.join(" "));
  }
});

Deno.test("bench: measures the defaults first, without rate options", () => {
  const isDefault = scenarios.map(({ setup }) => setup === "defaults" || setup === "hashing");
  assert(isDefault[0]);
  assertEquals(isDefault.lastIndexOf(true) + 1, isDefault.indexOf(false));
  const lines = optionLines(["hashing", "cluster", "doomed"]);
  assertStringIncludes(lines, "- embedded, defaults and default hash: `--db FILE`\n");
  assertEquals(lines.split("\n").length, 2 + 1, "one line for each title");
});

Deno.test("bench: a server has only the options that the document shows", async () => {
  await using setups = new Setups();
  const { groups } = await setups.get("hashing");
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${groups[0]!.pids[0]}/cmdline`] })
    .output();
  const [, options = ""] = new TextDecoder().decode(stdout).split("main.ts\0");
  assertMatch(options, /^127\.0\.0\.1\0\d+\0--db\0[^\0]+\0$/);
});

Deno.test("bench: the table shows refusals and losses, and leaves out unknown figures", () => {
  const value = spread([2_000]);
  const row = (more: Partial<Measurement>) =>
    table([{
      title: "title",
      unit: "messages",
      rate: value,
      refused: undefined,
      cpu: undefined,
      cpuOf: [],
      ownCpu: spread([7.5]),
      ack: undefined,
      delivery: { p50: 0.5, p99: 12 },
      balance: { delivered: 0, lost: 0, duplicated: 0, outOfOrder: 0 },
      ...more,
    }]).split("\n")[2];
  const [rate, own] = ["2,000 (2,000 to 2,000)", "7.50 (7.50 to 7.50)"];
  assertEquals(row({}), `| title | ${rate} messages |  |  |  | ${own} |  | 0.50 / 12.0 | 0 |`);
  assertEquals(
    row({ cpu: spread([NaN]), delivery: { p50: NaN, p99: NaN } }),
    `| title | ${rate} messages |  | none (none to none) |  | ${own} |  | none / none | 0 |`,
  );
  assertEquals(
    row({
      refused: spread([0, 31, 40]),
      cpu: value,
      balance: { delivered: 48, lost: 52, duplicated: 1, outOfOrder: 0 },
    }),
    `| title | ${rate} messages | 31.0 | ${rate} |  | ${own} |  | 0.50 / 12.0 | 52 (52 %), 1, 0 |`,
  );
});

Deno.test("bench: the line about idle connections has the memory of each at each time", () => {
  const after = [{ seconds: 20, bytes: 9, perConnection: 2_048 }, {
    seconds: 60,
    bytes: 9,
    perConnection: 1_536,
  }];
  assertEquals(
    idleLine("embedded", { connections: 5_000, before: 1, after }),
    "embedded: 5,000 users log in at once, and are idle from then on. " +
      "Each takes so much of the server's memory: 2.00 KiB after 20 s, 1.50 KiB after 60 s.\n",
  );
});

Deno.test("bench: measures a server that runs already, in the classic dialect", async () => {
  await using server = await startServer();
  const { code, stdout } = await bench(
    ...["--against", `${server.host}:${server.port}`, "--dialect", "classic", "--pid", `${server.pid}`],
    ...["--repeats", "1", "--seconds", "1"],
  );
  assertEquals(code, 0);
  const rows = stdout.split("\n").filter((line) => line.startsWith("| ") && line.includes(" in flight"));
  assertEquals(rows.length, foreignScenarios("classic").length);
  for (const row of rows) {
    const [, , rate, refused, cpu, , own, ack, delivery, faults] = row.split("|").map((cell) => cell.trim());
    for (const known of [rate, cpu, own, delivery]) assertMatch(known!, /^\d/);
    assertEquals([refused, ack, faults], ["", "", "0"], "the dialect has no replies");
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
  assertMatch(
    stdout,
    /^\| embedded, rates off: 1 pair, 1 in flight \| [\d,.]+ \(.*\) messages \| 0 \|.*\| 0 \|$/m,
  );
  const options = "--db FILE --argon2-memory 8 --message-rate 0 --unauthenticated-rate 0";
  assertStringIncludes(stdout, `\n- embedded, rates off: \`${options}\`\n`);
});
