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
       const bus = new RedisBus(["${redis.url}"], { info() {}, warn() {}, error() {} }, "d", "${SECRET}");
       await bus.open({ receive() {}, down() {}, up() {}, came() {}, gone() {}, silent() {} });
       await bus.lock(42);
       await bus.subscribe(42);`,
    ],
    cwd: ROOT,
    stdin: "null",
    stdout: "null",
  }).spawn();
  try {
    await until(async () => (await a.bus.online([42])).size > 0, "the other node");
    assertEquals([a.heard.left, b.heard.left], [0, 0]);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  for (const { heard } of [a, b]) await heard.until(() => heard.left > 0, () => "it was not noticed");
  assertEquals(
    [a.heard.silences, b.heard.silences],
    [[true], [true]],
    "it might only have lost its connection",
  );
  assertEquals(await a.bus.online([42]), new Set());
  await (await a.bus.lock(42))();
  assertEquals([a.heard.left, b.heard.left], [1, 1]);
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
  for (const { heard } of [a, c]) await heard.until(() => heard.left > 0, () => "it was not noticed");
  assert(performance.now() - began >= GRACE_MS, "it might only have been slower to come back");
  assertEquals([a.heard.left, c.heard.left], [1, 1]);
});

Deno.test("Redis peers: a node with a frozen link is silent until its next heartbeat", async () => {
  await using redis = await startRedis();
  await using relay = new Relay({ host: "127.0.0.1", port: redis.port });
  await using a = await Node.open([`redis://127.0.0.1:${relay.port}`]);
  await using b = await Node.open([redis.url]);
  const { heard } = b;
  relay.freeze();
  await heard.until(() => heard.silences.includes(true), () => "the frozen node isn't silent");
  await a.isDown();
  assertEquals([heard.left, heard.silences.at(-1)], [0, true]); // Redis still counts it as connected
  relay.thaw();
  await a.isUp();
  await heard.until(() => heard.silences.at(-1) === false, () => "the node is still silent");
  await worksBetween(a, b);
  assertEquals(heard.downs, []);
});

Deno.test("Redis peers: a node without a connection has left and is silent until it rejoins", async () => {
  await using redis = await startRedis();
  await using relay = new Relay({ host: "127.0.0.1", port: redis.port });
  await using a = await Node.open([`redis://127.0.0.1:${relay.port}`]);
  await using b = await Node.open([redis.url]);
  await using c = await Node.open([redis.url]);
  await c.bus.close();
  await b.heard.until(() => b.heard.left > 0, () => "the node that was closed isn't gone");
  assertEquals(b.heard.silences, []);
  relay.decide = () => "cut";
  await a.isDown();
  await b.heard.until(() => b.heard.left > 1, () => "the node that was cut off isn't gone");
  assertEquals(b.heard.silences, [true]);
  relay.decide = () => "pass";
  await a.isUp();
  await b.heard.until(() => b.heard.silences.length > 1, () => "the node is still silent");
  await worksBetween(a, b);
  assertEquals([b.heard.silences, b.heard.left, b.heard.downs], [[true, false], 2, []]);
});
