/** One class of work: its order, its concurrency and its share of the event loop. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { BULK, HANDSHAKE } from "../../lib/server/scheduling/classes.ts";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { WorkQueue } from "../../lib/server/scheduling/work_queue.ts";
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

const IDLE_LIMITS = BULK.whileIdle!;

/** Resolves when all that is ready has run. */
async function settled(): Promise<void> {
  for (let at = 0; at < 10; at++) await new Promise<void>((resolve) => setTimeout(resolve, 0));
}

function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

/** Starts as many items as `count`, each of which lasts until it is finished; the numbers of those that run. */
function startItems(queue: WorkQueue, count: number) {
  const running: number[] = [];
  const items = Array.from({ length: count }, () => Promise.withResolvers<void>());
  for (const [at, { promise }] of items.entries()) {
    void queue.run(() => {
      running.push(at);
      return promise;
    });
  }
  return { running, finish: (at: number) => items[at]!.resolve() };
}

Deno.test("work queue: starts one bulk item per yield, in order, while the loop is busy", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
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
  await queue.next(); // and again later
});

Deno.test("work queue: 2 bulk items are in progress while the loop is busy, and the next starts when one is done", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
  const { running, finish } = startItems(queue, 3);
  await settled();
  assertEquals([running, queue.canStart], [[0, 1], false]);
  finish(1);
  await settled();
  assertEquals([running, queue.canStart], [[0, 1, 2], false]);
  finish(0);
  finish(2);
  await settled();
  assertEquals(queue.canStart, true);
});

Deno.test("work queue: 64 bulk items are in progress while the loop is idle, started in one slice", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, { ...BULK, whileIdle: { ...IDLE_LIMITS, timeSliceMs: 1_000 } });
  const { running, finish } = startItems(queue, 70);
  while (running.length === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  assertEquals([running.length, loop.yields], [64, 1], "all of them join the same commit");
  await settled();
  assertEquals([running.length, queue.canStart], [64, false]);
  loop.isIdle = false;
  finish(0);
  await settled();
  assertEquals(running.length, 64, "the loop is busy now: all but one must end first");
  for (let at = 1; at < 63; at++) finish(at);
  await settled();
  assertEquals(running.length, 65);
  loop.isIdle = true;
  finish(63);
  await settled();
  assertEquals(running.length, 70);
  for (let at = 64; at < 70; at++) finish(at);
});

Deno.test("work queue: within an idle slice an item starts without a yield, unless others wait", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, { ...BULK, whileIdle: { ...IDLE_LIMITS, timeSliceMs: 1_000 } });
  await queue.next();
  for (let at = 1; at < IDLE_LIMITS.concurrency; at++) {
    await queue.next();
    queue.charge(1);
  }
  assertEquals(loop.yields, 1);
  const handshakes = new WorkQueue(loop, HANDSHAKE);
  await handshakes.next();
  work(HANDSHAKE.timeSliceMs);
  const before = loop.yields;
  await handshakes.next();
  assertEquals(loop.yields, before + 1, "the slice was over");
});

Deno.test("work queue: of items that come together within an idle slice no more start than may be in progress (I7)", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, { ...BULK, whileIdle: { ...IDLE_LIMITS, timeSliceMs: 1_000 } });
  await queue.next(); // begins the slice
  const { running, finish } = startItems(queue, 200);
  await settled();
  assertEquals(running.length, IDLE_LIMITS.concurrency);
  for (let at = 0; at < 200; at++) finish(at);
  await until(() => running.length === 200, "the others");
});

Deno.test("work queue: within an idle slice an item that comes late starts after those that wait", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, { ...BULK, whileIdle: { ...IDLE_LIMITS, timeSliceMs: 1_000 } });
  const order: string[] = [];
  const start = (name: string) => queue.next().then(() => order.push(name));
  const first = queue.next().then(() => start("late"));
  await Promise.all([first, start("1"), start("2")]);
  assertEquals([order, loop.yields], [["1", "2", "late"], 1]);
});

Deno.test("work queue: a slice of idle time ends after its milliseconds", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, BULK);
  const started: number[] = []; // each with the yields there had been
  await Promise.all(Array.from({ length: 12 }, async () => {
    await queue.next();
    work(IDLE_LIMITS.timeSliceMs * 0.6);
    started.push(loop.yields);
  }));
  const perSlice = Map.groupBy(started, (count) => count).values().map(({ length }) => length).toArray();
  assert(Math.max(...perSlice) <= 2, `${perSlice}`);
});

Deno.test("work queue: pauses 32 ms for each charged millisecond while the loop is busy", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
  queue.charge(2.5);
  assert(!queue.canStart);
  const startedAt = performance.now();
  await queue.next();
  assertLess(78, performance.now() - startedAt);
  assert(queue.canStart);
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
  const queue = new WorkQueue(loop, BULK);
  queue.noteOtherWork(performance.now());
  const startedAt = performance.now();
  const { running, finish } = startItems(queue, 4);
  await settled();
  assertEquals([running, queue.canStart], [[0, 1], false]);
  await new Promise((resolve) => setTimeout(resolve, IDLE_LIMITS.quietMs));
  finish(0);
  await settled();
  assertEquals(running, [0, 1, 2, 3]);
  for (const at of [1, 2, 3]) finish(at);
  queue.noteOtherWork(performance.now());
  queue.charge(2.5);
  const yieldsBefore = loop.yields;
  const chargedAt = performance.now();
  await queue.next();
  assertLess(78, performance.now() - chargedAt);
  assertLess(loop.yields - yieldsBefore, 5); // a timer, and no busy waiting
  assertLess(performance.now() - startedAt, 10_000);
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
  await Promise.all([queue.next(), queue.next(), queue.next()]);
  const took = performance.now() - startedAt;
  clearInterval(busy);
  clearTimeout(over);
  assertLess(295, took);
  assertLess(took, 4_000);
});

Deno.test("work queue: an item counts with its weight, and returns its result or error", async () => {
  const queue = new WorkQueue(new FakeLoop(), BULK);
  const { promise, resolve } = Promise.withResolvers<string>();
  const result = queue.run(() => promise, 4);
  await settled();
  assert(!queue.canStart);
  resolve("done");
  assertEquals(await result, "done");
  const error = await queue.run(() => Promise.reject(new Error("no"))).catch((error) => error);
  assertEquals(error.message, "no");
  assert(queue.canStart);
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

Deno.test("work queue: a class without limits of its own while idle pauses on an idle loop, too", async () => {
  const loop = new FakeLoop();
  loop.isIdle = true;
  const queue = new WorkQueue(loop, { concurrency: 1, timeSliceMs: 0, pauseRatio: 10, maxPauseMs: 200 });
  await queue.next();
  queue.charge(10); // ms: for a pause of 100
  const startedAt = performance.now();
  await queue.next();
  const pausedMs = performance.now() - startedAt;
  assert(pausedMs >= 90, `${pausedMs}`);
});
