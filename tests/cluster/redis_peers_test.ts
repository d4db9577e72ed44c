/** The nodes' knowledge of each other through Redis: nodes that left, and silent ones. */
import { assert, assertEquals } from "@std/assert";
import { ROOT } from "../harness/program.ts";
import { SECRET, startRedis } from "../harness/redis.ts";
import { Relay } from "../harness/relay.ts";
import { until } from "../harness/wait.ts";
import { Node, worksBetween } from "./redis_node.ts";

// Milliseconds that other nodes have to rejoin after an outage, minus the rounding of clocks.
const GRACE_MS = 1_990;

Deno.test("Redis peers: a killed node leaves, its users are offline, and its locks expire", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `import { RedisBus } from "./lib/bus/redis/redis_bus.ts";
       import { EventRecorder } from "./tests/cluster/bus_fixture.ts";
       const bus = new RedisBus(["${redis.url}"], { info() {}, warn() {}, error() {} }, "d", "${SECRET}");
       await bus.open(new EventRecorder());
       await bus.lock(42);
       await bus.subscribe(42);`,
    ],
    cwd: ROOT,
    stdin: "null",
    stdout: "null",
  }).spawn();
  try {
    await until(async () => (await a.bus.online([42])).size > 0, "the other node");
    assertEquals([a.events.left, b.events.left], [0, 0]);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  for (const { events } of [a, b]) {
    await events.until(() => events.left > 0, () => "no node was reported as left");
  }
  assertEquals(
    [a.events.silences, b.events.silences],
    [[true], [true]],
    "it might only have lost its connection",
  );
  assertEquals(await a.bus.online([42]), new Set());
  await (await a.bus.lock(42))();
  assertEquals([a.events.left, b.events.left], [1, 1]);
});

Deno.test("Redis peers: finds a node that left during an outage of another one", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  await using c = await Node.open([redis.url]);
  await redis.stop();
  await Promise.all([a.isDown(), b.isDown(), c.isDown()]);
  await b.bus.close();
  const began = performance.now();
  await redis.start();
  await Promise.all([a.isUp(), c.isUp()]);
  for (const { events } of [a, c]) {
    await events.until(() => events.left > 0, () => "no node was reported as left");
  }
  assert(performance.now() - began >= GRACE_MS, "the node may still have rejoined");
  assertEquals([a.events.left, c.events.left], [1, 1]);
});

Deno.test("Redis peers: a node with a frozen link is silent until its next heartbeat", async () => {
  await using redis = await startRedis();
  await using relay = new Relay({ host: "127.0.0.1", port: redis.port });
  await using a = await Node.open([`redis://127.0.0.1:${relay.port}`]);
  await using b = await Node.open([redis.url]);
  const { events } = b;
  relay.freeze();
  await events.until(() => events.silences.includes(true), () => "the frozen node is not silent");
  await a.isDown();
  assertEquals([events.left, events.silences.at(-1)], [0, true]); // Redis still counts it as connected
  relay.thaw();
  await a.isUp();
  await events.until(() => events.silences.at(-1) === false, () => "the node is still silent");
  await worksBetween(a, b);
  assertEquals(events.downErrors, []);
});

Deno.test("Redis peers: a node without a connection has left and is silent until it rejoins", async () => {
  await using redis = await startRedis();
  await using relay = new Relay({ host: "127.0.0.1", port: redis.port });
  await using a = await Node.open([`redis://127.0.0.1:${relay.port}`]);
  await using b = await Node.open([redis.url]);
  await using c = await Node.open([redis.url]);
  await c.bus.close();
  await b.events.until(() => b.events.left > 0, () => "the closed node has not left");
  assertEquals(b.events.silences, []);
  relay.decide = () => "cut";
  await a.isDown();
  await b.events.until(() => b.events.left > 1, () => "the disconnected node has not left");
  assertEquals(b.events.silences, [true]);
  relay.decide = () => "pass";
  await a.isUp();
  await b.events.until(() => b.events.silences.length > 1, () => "the node is still silent");
  await worksBetween(a, b);
  assertEquals([b.events.silences, b.events.left, b.events.downErrors], [[true, false], 2, []]);
});
