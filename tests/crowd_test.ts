/** Those who come, go, or aren't logged in take turns. */
import { assert, assertEquals } from "@std/assert";
import { setImmediate } from "node:timers";
import { Crowd } from "../lib/server/crowd.ts";

/** Counts the event loop's turns until it is told to stop. */
function turns(): { readonly count: () => number; readonly stop: () => void } {
  let [count, isOver] = [0, false];
  const next = () => {
    count++;
    if (!isOver) setImmediate(next);
  };
  setImmediate(next);
  return { count: () => count, stop: () => isOver = true };
}

function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

Deno.test("crowd: who comes first is first, and nobody at once", async () => {
  const crowd = new Crowd();
  const log: string[] = [];
  const all = ["a", "b", "c"].map((name) => crowd.turn().then(() => log.push(name)));
  assertEquals(log, []);
  await Promise.all(all);
  assertEquals(log, ["a", "b", "c"]);
  await crowd.turn(); // and again later
});

Deno.test("crowd: a millisecond of its work in one turn of the event loop, and everybody else in between", async () => {
  const crowd = new Crowd();
  const loop = turns();
  const served: number[] = []; // by turn of the loop
  await Promise.all(Array.from({ length: 12 }, async () => {
    await crowd.turn();
    work(0.6);
    served.push(loop.count());
  }));
  loop.stop();
  const each = Map.groupBy(served, (turn) => turn).values().map(({ length }) => length).toArray();
  assert(Math.max(...each) <= 2, `after the second its time is over: ${each}`);
});

Deno.test("crowd: those who do nearly nothing are all served in few turns", async () => {
  const crowd = new Crowd();
  const loop = turns();
  await Promise.all(Array.from({ length: 100 }, () => crowd.turn()));
  loop.stop();
  assert(loop.count() < 50, `${loop.count()} turns for 100`);
});
