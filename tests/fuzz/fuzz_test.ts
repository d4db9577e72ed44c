/** The corpus, and a number of generated inputs. `deno task fuzz` tries further ones. */
import { assert, assertRejects } from "@std/assert";
import { HostileNode } from "./node.ts";
import { check, checkCorpus, checkSeed, Finding, type Target } from "./target.ts";
import { live, pure } from "./targets.ts";

const PURE_SEEDS = 400; // of inputs that take up to a millisecond
const LIVE_SEEDS = 30; // of inputs that take about 20 ms

async function checkAll(target: Target, seeds: number): Promise<void> {
  assert(await checkCorpus(target) > 0);
  for (let seed = 0; seed < seeds; seed++) await checkSeed(target, seed);
}

for (const target of pure) Deno.test(`fuzz: ${target.name}`, () => checkAll(target, PURE_SEEDS));

Deno.test("fuzz: a node survives", async (t) => {
  await using node = await HostileNode.start();
  for (const target of live(node)) await t.step(target.name, () => checkAll(target, LIVE_SEEDS));
});

Deno.test("fuzz: a finding is reported with its input and the command that repeats it", async () => {
  const target: Target = {
    name: "fragile",
    generate: () => Uint8Array.of(0x00, 0xff),
    check([first]) {
      if (first === 0) throw new Error("broken");
    },
  };
  await check(target, { file: "x" }, Uint8Array.of(1));
  const found = await assertRejects(() => checkSeed(target, 7), Finding, "broken");
  assert(found.message.includes(JSON.stringify("\0\xff")) && found.how === "--seed 7 --minutes 0");
});
