/** One class of work: its order, its concurrency and its share of the event loop. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { BULK, HANDSHAKE, weightOf } from "../../lib/server/scheduling/classes.ts";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { type WorkClass, WorkQueue } from "../../lib/server/scheduling/work_queue.ts";
import { until } from "../harness/wait.ts";

/** An event loop that says whether it is idle as the test likes, and counts its yields. */
class FakeLoop extends EventLoop {
  isIdle = false;
  yields = 0;

  override async pollIo(): Promise<boolean> {
    await super.pollIo(); // without a pipe: a timer, so that other timers run
    this.yields++;
    return this.isIdle;
  }

  override async yieldToIo(): Promise<void> {
    await this.pollIo();
  }
}

/** Resolves when all that is ready has run. */
async function settled(): Promise<void> {
  for (let at = 0; at < 10; at++) await new Promise<void>((resolve) => setTimeout(resolve, 0));
}

function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

/** A class whose slices do not end by the clock, however slow the machine is. */
const UNTIMED: WorkClass = { ...BULK, maxWeight: 64, timeSliceMs: 100_000 };

/** Starts as many items as `count`, each of which lasts until it is finished; the numbers of those that run. */
function startItems(queue: WorkQueue, count: number, weight?: number) {
  const running: number[] = [];
  const items = Array.from({ length: count }, () => Promise.withResolvers<void>());
  for (const [at, { promise }] of items.entries()) {
    void queue.run(() => {
      running.push(at);
      return promise;
    }, weight);
  }
  return { running, finish: (at: number) => items[at]!.resolve() };
}

Deno.test("work queue: bulk items that wait start together, in order, after one yield", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, UNTIMED);
  const log: string[] = [];
  const all = ["a", "b", "c"].map(async (name) => {
    await queue.next();
    log.push(name);
    queueMicrotask(() => log.push(`after ${name}`));
  });
  assertEquals(log, [], "not at once, even if nothing else waits");
  await Promise.all(all);
  await settled();
  assertEquals(log, ["a", "after a", "b", "after b", "c", "after c"]);
  assertEquals(loop.yields, 1, "they join the same commit");
});

Deno.test("work queue: bulk items of weight 64 are in progress, and the next start when some are done", async () => {
  const queue = new WorkQueue(new FakeLoop(), UNTIMED);
  const { running, finish } = startItems(queue, 70);
  await settled();
  assertEquals(running.length, 64);
  finish(1);
  await settled();
  assertEquals(running.length, 65);
  for (let at = 0; at < 70; at++) finish(at);
  await until(() => running.length === 70, "the others");
});

Deno.test("work queue: of items that come together within a slice no more start than may be in progress (I7)", async () => {
  const queue = new WorkQueue(new FakeLoop(), UNTIMED);
  await queue.next(); // begins the slice
  const { running, finish } = startItems(queue, 200);
  await settled();
  assertEquals(running.length, 64);
  for (let at = 0; at < 200; at++) finish(at);
  await until(() => running.length === 200, "the others");
});

Deno.test("work queue: heavy items leave less room, and one that exceeds the limit runs alone", async () => {
  const queue = new WorkQueue(new FakeLoop(), UNTIMED);
  const heavy = startItems(queue, 3, 32);
  await settled();
  assertEquals(heavy.running, [0, 1]);
  const light = startItems(queue, 1);
  const heaviest = startItems(queue, 2, 65);
  heavy.finish(0);
  await settled();
  assertEquals([heavy.running, light.running, heaviest.running], [[0, 1, 2], [], []]);
  heavy.finish(1);
  await settled();
  assertEquals([light.running, heaviest.running], [[0], []]);
  heavy.finish(2);
  await settled();
  assertEquals(heaviest.running, [], "an item is in progress");
  light.finish(0);
  await settled();
  assertEquals(heaviest.running, [0]);
  heaviest.finish(0);
  await settled();
  assertEquals(heaviest.running, [0, 1]);
  heaviest.finish(1);
});

Deno.test("work queue: a small message weighs 1, and all weights are whole", () => {
  assertEquals([weightOf(1, 200), weightOf(1, 50_000), weightOf(5, 100)], [1, 25, 5]);
  for (const cost of [0.1, 1, 2, 5]) {
    for (const bytes of [0, 100, 1_024, 65_535]) assert(Number.isInteger(weightOf(cost, bytes)));
  }
});

Deno.test("work queue: within a slice an item starts without a yield, unless others wait", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, UNTIMED);
  await queue.next();
  for (let at = 1; at < UNTIMED.maxWeight; at++) await queue.next();
  assertEquals(loop.yields, 1);
  await queue.next();
  assertEquals(loop.yields, 2, "the slice has started as much as may be in progress");
  const handshakes = new WorkQueue(loop, HANDSHAKE);
  await handshakes.next();
  work(HANDSHAKE.timeSliceMs);
  const before = loop.yields;
  await handshakes.next();
  assertEquals(loop.yields, before + 1, "the slice was over");
});

Deno.test("work queue: within a slice an item that comes late starts after those that wait", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, UNTIMED);
  const order: string[] = [];
  const start = (name: string) => queue.next().then(() => order.push(name));
  const first = queue.next().then(() => start("late"));
  await Promise.all([first, start("1"), start("2")]);
  assertEquals([order, loop.yields], [["1", "2", "late"], 1]);
});

Deno.test("work queue: a slice ends after its milliseconds", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, BULK);
  const started: number[] = []; // each with the yields there had been
  await Promise.all(Array.from({ length: 12 }, async () => {
    await queue.next();
    work(BULK.timeSliceMs * 0.6);
    started.push(loop.yields);
  }));
  const perSlice = Map.groupBy(started, (count) => count).values().map(({ length }) => length).toArray();
  assert(Math.max(...perSlice) <= 2, `${perSlice}`);
});

Deno.test("work queue: pauses 32 ms for each charged millisecond while the loop is busy", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
  queue.charge(2.5);
  const startedAt = performance.now();
  await queue.next();
  assertLess(78, performance.now() - startedAt);
});

Deno.test("work queue: a pause ends as soon as the loop is idle", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, { ...BULK, maxPauseMs: 100_000 });
  queue.charge(5_000);
  let isStarted = false;
  const started = queue.next().then(() => isStarted = true);
  await settled();
  assert(!isStarted, "the loop is busy");
  loop.isIdle = true;
  await started; // else it would take 100 s
});

Deno.test("work queue: the node is not idle for 100 ms after other work, even if the loop is", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, { ...BULK, quietMs: 100_000 });
  queue.noteOtherWork(performance.now());
  queue.charge(2.5);
  const chargedAt = performance.now();
  await queue.next();
  assertLess(78, performance.now() - chargedAt);
  assertLess(loop.yields, 5); // a timer, and no busy waiting
  const quiet = new WorkQueue(loop, { ...BULK, maxPauseMs: 100_000 });
  quiet.noteOtherWork(performance.now() - BULK.quietMs);
  quiet.charge(5_000);
  await quiet.next(); // else it would take 100 s
});

Deno.test("work queue: a pause is spent with yields to a real event loop, and ends at once if that is idle", async () => {
  using loop = new EventLoop();
  await loop.open();
  const queue = new WorkQueue(loop, { ...BULK, maxPauseMs: 100_000 });
  queue.charge(5_000);
  await queue.next();
});

Deno.test("work queue: whatever was charged, the next item starts 100 ms later", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
  for (let item = 0; item < 100; item++) queue.charge(100);
  const startedAt = performance.now();
  await queue.next();
  const took = performance.now() - startedAt;
  assertLess(98, took);
  assertLess(took, 5_000); // with all of it it would be 320 s
});

Deno.test("work queue: starts an item every 100 ms beside work that is charged all the time, as for busy groups", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
  queue.charge(10);
  const busy = setInterval(() => queue.charge(10), 5);
  const over = setTimeout(() => clearInterval(busy), 5_000); // else it would wait for ever if none started
  const startedAt = performance.now();
  for (let item = 0; item < 3; item++) {
    await queue.next();
    work(BULK.timeSliceMs); // the slice is over
  }
  const took = performance.now() - startedAt;
  clearInterval(busy);
  clearTimeout(over);
  assertLess(295, took);
  assertLess(took, 4_000);
});

Deno.test("work queue: an item returns its result or error, and has ended then", async () => {
  const queue = new WorkQueue(new FakeLoop(), UNTIMED);
  assertEquals(await queue.run(() => Promise.resolve("done"), 64), "done");
  const error = await queue.run(() => Promise.reject(new Error("no")), 64).catch((error) => error);
  assertEquals(error.message, "no");
  await queue.run(() => Promise.resolve(), 64);
});

Deno.test("work queue: handshakes start in order and not at once, for 1 ms between two yields", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, HANDSHAKE);
  const started: [item: number, yields: number][] = [];
  const all = Array.from({ length: 12 }, async (_, item) => {
    await queue.next();
    work(0.6);
    started.push([item, loop.yields]);
  });
  assertEquals(started, []);
  await Promise.all(all);
  assertEquals(started.map(([item]) => item), Array.from({ length: 12 }, (_, item) => item));
  const perSlice = Map.groupBy(started, ([, yields]) => yields).values().map(({ length }) => length);
  assert(Math.max(...perSlice) <= 2, "after the second the slice is over");
});

Deno.test("work queue: many short handshakes share few yields", async () => {
  const loop = new FakeLoop();
  const queue = new WorkQueue(loop, HANDSHAKE);
  await Promise.all(Array.from({ length: 100 }, () => queue.next()));
  assert(loop.yields < 50, `${loop.yields} yields for 100`);
});
