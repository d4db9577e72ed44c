/** A short run of the chaos suite. `deno task chaos` runs it at length. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { describe } from "./report.ts";
import { run } from "./run.ts";
import { schedule } from "./nemesis.ts";

const NODES = 3;
const FAULTS_MS = 8_000; // ms in which faults begin
const MIN_ACKS = 300; // messages at least, so that there is something to check
const MIN_FAULT_KINDS = 4; // kinds at least

for (const seed of [238, 290]) {
  Deno.test(`chaos: all invariants hold under the faults of seed ${seed}`, async () => {
    const outcome = await run({ seed, nodes: NODES, ms: FAULTS_MS });
    const told = describe(outcome, `deno task chaos --seed ${seed} --seconds ${FAULTS_MS / 1_000}`);
    assertEquals(outcome.findings, [], told);
    assertGreaterOrEqual(outcome.counts.get("acked") ?? 0, MIN_ACKS, told);
    assertGreaterOrEqual(
      [...outcome.faults.keys()].filter((name) => !name.startsWith("own ")).length,
      MIN_FAULT_KINDS,
      told,
    );
  });
}

Deno.test("chaos: the faults depend on the seed only", () => {
  assertEquals(schedule(3, NODES, FAULTS_MS), schedule(3, NODES, FAULTS_MS));
  const [three, four] = [3, 4].map((seed) => JSON.stringify(schedule(seed, NODES, FAULTS_MS)));
  assertEquals(three === four, false);
});
