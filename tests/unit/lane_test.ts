/** Heavy work takes turns. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { Lane } from "../../lib/server/scheduling/lane.ts";

/** Resolves when the event loop has come round. */
const round = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

Deno.test("lane: one turn each time the event loop comes round, in the order of asking", async () => {
  const lane = new Lane(new EventLoop());
  const log: string[] = [];
  const turns = ["a", "b", "c"].map(async (name) => {
    await lane.turn();
    log.push(name);
    queueMicrotask(() => log.push(`after ${name}`));
  });
  assertEquals(log, [], "not at once, even if nothing else waits");
  await Promise.all(turns);
  await round();
  assertEquals(log, ["a", "after a", "b", "after b", "c", "after c"]);
  await lane.turn(); // and again later
});

Deno.test("lane: so many pieces are under way, and the next has its turn when one is done", async () => {
  const lane = new Lane(new EventLoop(), 2);
  const works = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
  const log: number[] = [];
  for (const [at, { promise }] of works.entries()) {
    void lane.turn().then(() => {
      log.push(at);
      void lane.hold(promise);
    });
  }
  for (let at = 0; at < 10; at++) await round();
  assertEquals([log, lane.isFree], [[0, 1], false]);
  works[1]!.resolve();
  for (let at = 0; at < 10; at++) await round();
  assertEquals([log, lane.isFree], [[0, 1, 2], false]);
  works[0]!.resolve();
  works[2]!.resolve();
  await round();
  assertEquals(lane.isFree, true);
});

Deno.test("lane: sixteen times as long as a piece took is left to other work", async () => {
  const lane = new Lane(new EventLoop());
  lane.spent(5);
  assert(!lane.isFree);
  const began = performance.now();
  await lane.turn();
  assertLess(78, performance.now() - began);
  assert(lane.isFree);
});

Deno.test("lane: however long a piece took, a tenth of a second later is the next one's turn", async () => {
  const lane = new Lane(new EventLoop());
  for (let piece = 0; piece < 100; piece++) lane.spent(100);
  const began = performance.now();
  await lane.turn();
  const took = performance.now() - began;
  assertLess(98, took);
  assertLess(took, 5_000); // with all of it it would be 160 s
});

Deno.test("lane: what is spent all the time, as on busy groups, leaves it a turn every tenth of a second", async () => {
  const lane = new Lane(new EventLoop());
  lane.spent(10);
  const busy = setInterval(() => lane.spent(10), 5);
  const over = setTimeout(() => clearInterval(busy), 5_000); // else it would wait for ever if it had none
  const began = performance.now();
  await Promise.all([lane.turn(), lane.turn(), lane.turn()]);
  const took = performance.now() - began;
  clearInterval(busy);
  clearTimeout(over);
  assertLess(295, took);
  assertLess(took, 4_000);
});

Deno.test("lane: if nothing else is said, two pieces may be under way", async () => {
  const lane = new Lane(new EventLoop());
  const { promise, resolve } = Promise.withResolvers<void>();
  void lane.hold(promise);
  assert(lane.isFree);
  void lane.hold(promise);
  assert(!lane.isFree);
  resolve();
  await round();
});
