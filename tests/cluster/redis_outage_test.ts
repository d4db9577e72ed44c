/** The bus over Redis during outages of Redis or of a connection to it. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BusUnavailableError } from "../../lib/bus/bus.ts";
import { Names } from "../../lib/bus/redis/names.ts";
import { Log } from "../../lib/log.ts";
import { message } from "./bus_fixture.ts";
import { type RedisCluster, startRedis, startRedisCluster } from "../harness/redis.ts";
import { until, within } from "../harness/wait.ts";
import { connectionOf, cut, Node, RedisLink, refuses, worksBetween } from "./redis_node.ts";

const MAX_CLOSE_MS = 1_500; // milliseconds: less than the detection of a silent Redis takes
// Milliseconds: more than the detection of a silent Redis takes, and less than the wait for a lock.
const MAX_DETECTION_MS = 10_000;
const LEASE_MS = 5_000; // milliseconds that a lock lives without its holder

Deno.test("Redis outage: restores all subscriptions after a restart of Redis without data", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  await Promise.all([a.bus.subscribe(1), b.bus.subscribe(5), b.bus.subscribe(-6)]);
  const release = await a.bus.lock(1);
  await redis.stop();
  await Promise.all([a.isDown(), b.isDown()]);
  await refuses(a);
  await b.bus.subscribe(7);
  await b.bus.unsubscribe(-6);
  await release();
  await redis.start();
  await Promise.all([a.isUp(), b.isUp()]);
  assertEquals(await a.bus.online([1, 5, 6, 7]), new Set([1, 5, 7]));
  a.bus.publish(-6, message(1));
  a.bus.publish(7, message(2));
  b.bus.publish(1, message(3));
  assertEquals((await a.events.atLeast(1)).at(-1), [1, message(3)]);
  assertEquals((await b.events.atLeast(1)).at(-1), [7, message(2)]);
  await worksBetween(a, b);
  a.wasDownOnce();
  b.wasDownOnce();
});

Deno.test("Redis outage: treats a frozen Redis as lost, and rejects waiting calls", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  const release = await a.bus.lock(2);
  redis.kill("SIGSTOP");
  const waiting = [a.bus.online([1]), a.bus.lock(1), a.bus.lock(2), b.bus.lock(2)];
  const subscribed = b.bus.subscribe(5);
  for (const result of await within(Promise.allSettled(waiting), "answers", MAX_DETECTION_MS)) {
    assert(result.status === "rejected" && result.reason instanceof BusUnavailableError);
  }
  await within(subscribed, "the subscription");
  await Promise.all([a.isDown(), b.isDown()]);
  await release();
  redis.kill("SIGCONT");
  await Promise.all([a.isUp(), b.isUp()]);
  assertEquals(await a.bus.online([5]), new Set([5]));
  await worksBetween(a, b);
});

Deno.test("Redis outage: reconnects with thousands of subscriptions", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  const users = Array.from({ length: 12_000 }, (_, i) => i + 1);
  await Promise.all(users.map((user) => b.bus.subscribe(user)));
  await cut(redis);
  await Promise.all([a.isUpAgain(), b.isUpAgain()]);
  assertEquals(await a.bus.online(users), new Set(users));
  await worksBetween(a, b, 77_777);
  a.wasDownOnce();
  b.wasDownOnce();
});

Deno.test("Redis outage: replaces lost hints of messages by resync hints", async () => {
  await using redis = await startRedis();
  await using link = new RedisLink(redis);
  await using a = await Node.open([link.url]);
  await using b = await Node.open([redis.url]);
  for (const channel of [5, -6, 7, 8]) await b.bus.subscribe(channel);
  link.cut();
  await a.isDown();
  for (const seq of [1, 2]) for (const channel of [5, -6]) a.bus.publish(channel, message(seq));
  a.bus.publish(7, { kind: "presence", user: 1 });
  a.bus.publish(8, { kind: "takeover", loginEpoch: 1 });
  link.restore();
  await a.isUp();
  a.bus.publish(8, message(3));
  assertEquals(await b.events.atLeast(3), [[5, { kind: "resync" }], [-6, { kind: "resync" }], [
    8,
    message(3),
  ]]);
  assertEquals(b.events.downErrors, []);
});

Deno.test("Redis outage: replaces a message that was in flight when the connection was lost", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  const connection = await connectionOf(redis);
  await using b = await Node.open([redis.url]);
  await b.bus.subscribe(5);
  const killed = cut(redis, connection);
  let published = 0;
  while (a.events.downErrors.length === 0) {
    a.bus.publish(5, message(++published));
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await killed;
  await a.isUp();
  const { hints } = b.events;
  const looked = () => hints.some(([, hint]) => hint.kind === "resync");
  await b.events.until(
    () => looked() || hints.length === published,
    () => "a message was lost without a resync",
  );
});

Deno.test("Redis outage: requests a resync of all channels when too many lost a hint", async () => {
  await using redis = await startRedis();
  await using link = new RedisLink(redis);
  await using a = await Node.open([link.url]);
  await using b = await Node.open([redis.url]);
  await b.bus.subscribe(5);
  await b.bus.subscribe(-6);
  link.cut();
  await a.isDown();
  for (let user = 100; user <= 10_101; user++) a.bus.publish(user, message(1));
  link.restore();
  assertEquals(await b.events.atLeast(2), [[5, { kind: "resync" }], [-6, { kind: "resync" }]]);
});

Deno.test("Redis outage: waits for a Redis that is not running yet", async () => {
  await using redis = await startRedis();
  await redis.stop();
  await using a = new Node([redis.url]);
  await using b = new Node([redis.url]);
  for (const { bus, events } of [a, b]) {
    await bus.open(events);
    assertEquals(events.downErrors, [], "reported only after open has resolved");
  }
  await Promise.all([a.isDown(), b.isDown()]);
  await refuses(a);
  await b.bus.subscribe(5);
  await turnAway(redis.port, 6);
  await redis.start();
  await Promise.all([a.isUp(), b.isUp()]);
  assertEquals(await a.bus.online([5]), new Set([5]));
  await worksBetween(a, b);
  a.wasDownOnce();
  b.wasDownOnce();
});

/** Resolves after this number of connections has been refused. */
async function turnAway(port: number, times: number): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port });
  for (let i = 0; i < times; i++) (await within(listener.accept(), "another attempt to connect")).close();
}

Deno.test("Redis outage: logs a rejected password without its text, and uses a valid one", async () => {
  await using redis = await startRedis();
  await redis.command("CONFIG", "SET", "requirepass", "right/@:");
  const lines: string[] = [];
  for (const [login, reply] of [["", "NOAUTH"], [":geheim@", "WRONGPASS"], ["geheim:geheim@", "WRONGPASS"]]) {
    await using node = await Node.open(
      [redis.url.replace("//", `//${login}`)],
      new Log("debug", "json", (line) => lines.push(line)),
    );
    await node.isDown();
    const line = lines.pop()!;
    assertStringIncludes(line, reply!);
    assertStringIncludes(line, '"level":"error"');
    assert(!`${line}${node.events.downErrors}${Deno.inspect(node.events.downErrors)}`.includes("geheim"));
  }
  const right = redis.url.replace("//", `//:${encodeURIComponent("right/@:")}@`);
  await using a = await Node.open([right]);
  await using b = await Node.open([right]);
  await worksBetween(a, b);
});

Deno.test("Redis outage: logs that several addresses need a cluster", async () => {
  await using redis = await startRedis();
  const lines: string[] = [];
  const log = new Log("debug", "text", (line) => lines.push(line));
  await using node = await Node.open([redis.url, redis.url], log);
  await node.isDown();
  assertStringIncludes(lines.join(""), "is not part of a cluster");
});

Deno.test("Redis outage: closes the bus at any time without leaks", async () => {
  await using redis = await startRedis();
  const closes = async (node: Node) => await within(node.bus.close(), "the bus to close", MAX_CLOSE_MS);
  await closes(new Node([redis.url]));
  const opening = new Node([redis.url]);
  const opened = opening.bus.open(opening.events);
  await closes(opening);
  await opened;
  const nodes = await Promise.all([1, 2, 3].map(() => Node.open([redis.url])));
  const [used, frozen, down] = nodes;
  await used!.bus.lock(1);
  void used!.bus.subscribe(1);
  used!.bus.publish(1, message(1));
  await closes(used!);
  await (await within(
    down!.bus.lock(1),
    "a lock that was given back and not only left to expire",
    LEASE_MS / 2,
  ))();
  redis.kill("SIGSTOP");
  const waiting = assertRejects(() => frozen!.bus.lock(1), BusUnavailableError);
  const subscribing = frozen!.bus.subscribe(2);
  frozen!.bus.publish(1, message(1));
  await closes(frozen!);
  await Promise.all([waiting, subscribing]);
  const knocking = new Node([redis.url]);
  const knocked = knocking.bus.open(knocking.events);
  await down!.isDown();
  await Promise.all([closes(down!), closes(knocking)]);
  await knocked;
  await redis.stop();
  const late = await Node.open([redis.url]);
  await closes(late);
  assertEquals([used, frozen, late].map((node) => node!.events.downErrors.length), [0, 0, 0]);
});

Deno.test("Redis Cluster: the bus is down while a master is missing, and recovers afterwards", async () => {
  await using cluster = await startRedisCluster();
  await using a = await Node.open(cluster.urls);
  await using b = await Node.open(cluster.urls);
  const users = Array.from({ length: 100 }, (_, i) => i + 1);
  await Promise.all(users.map((user) => b.bus.subscribe(user)));
  await cluster.masters[1]!.stop();
  await Promise.all([a.isDown(), b.isDown()]);
  await refuses(a);
  await cluster.masters[1]!.start();
  await Promise.all([a.isUp(), b.isUp()]);
  assertEquals(await a.bus.online(users), new Set(users));
  for (const user of users) a.bus.publish(user, message(user));
  await b.events.atLeast(users.length);
  await worksBetween(a, b, 777);
  a.wasDownOnce();

  await moveSlot(cluster, new Names("d").channel(5));
  await worksAgain(a, b);
});

/** Moves the slot of a channel to another master, as a resize of the cluster does. */
async function moveSlot({ masters }: RedisCluster, name: string): Promise<void> {
  const slot = await masters[0]!.command("CLUSTER", "KEYSLOT", name);
  const ids = await Promise.all(masters.map((master) => master.command("CLUSTER", "MYID")));
  const holds = await Promise.all(masters.map((master) => master.command("PUBSUB", "SHARDCHANNELS", name)));
  const from = holds.indexOf(name);
  const to = (from + 1) % masters.length;
  await masters[to]!.command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from]!);
  await masters[from]!.command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to]!);
  for (const i of [to, from]) await masters[i]!.command("CLUSTER", "SETSLOT", slot, "NODE", ids[to]!);
}

async function worksAgain(a: Node, b: Node): Promise<void> {
  await b.events.until(() => b.events.upCount === 2, () => "the outage was not noticed");
  const before = b.events.hints.length;
  a.bus.publish(5, message(55)); // or a resync instead, if this node notices the loss only now
  await b.events.atLeast(before + 1);
  assertEquals(await until(() => a.bus.online([5]).catch(() => undefined), "the other node"), new Set([5]));
}
