/** Those who come, go, or aren't logged in take turns. */
import { assert, assertEquals } from "@std/assert";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { Crowd } from "../../lib/server/scheduling/crowd.ts";

/** Counts its breaks. */
class Counting extends EventLoop {
  count = 0;

  override async yieldToIo(): Promise<void> {
    await super.yieldToIo();
    this.count++;
  }
}

function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

Deno.test("crowd: first come first served, and none at once", async () => {
  const crowd = new Crowd(new EventLoop());
  const log: string[] = [];
  const all = ["a", "b", "c"].map((name) => crowd.turn().then(() => log.push(name)));
  assertEquals(log, []);
  await Promise.all(all);
  assertEquals(log, ["a", "b", "c"]);
  await crowd.turn(); // and again later
});

Deno.test("crowd: a millisecond of its work, and then a break for all other work", async () => {
  const breaks = new Counting();
  const crowd = new Crowd(breaks);
  const served: number[] = []; // each with the breaks there had been
  await Promise.all(Array.from({ length: 12 }, async () => {
    await crowd.turn();
    work(0.6);
    served.push(breaks.count);
  }));
  const each = Map.groupBy(served, (count) => count).values().map(({ length }) => length).toArray();
  assert(Math.max(...each) <= 2, `after the second its time is over: ${each}`);
});

Deno.test("crowd: those who do nearly nothing are all served between few breaks", async () => {
  const breaks = new Counting();
  const crowd = new Crowd(breaks);
  await Promise.all(Array.from({ length: 100 }, () => crowd.turn()));
  assert(breaks.count < 50, `${breaks.count} breaks for 100`);
});
