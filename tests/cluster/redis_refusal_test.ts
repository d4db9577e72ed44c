/** The bus over a running Redis: heartbeats, and commands that Redis refuses. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BusUnavailableError } from "../../lib/bus/bus.ts";
import { Log } from "../../lib/log.ts";
import { message } from "./bus_fixture.ts";
import { type Redis, startRedis } from "../harness/redis.ts";
import { until } from "../harness/wait.ts";
import { Node, worksBetween } from "./redis_node.ts";

/** Returns the calls of a command that Redis has accepted, and that it has refused. */
async function callsOf(redis: Redis, command: string): Promise<{ taken: number; refused: number }> {
  const stats = await redis.command("INFO", "commandstats");
  const line = stats.split("\n").find((line) => line.startsWith(`cmdstat_${command}:`)) ?? "";
  const [, taken = 0, refused = 0] = /:calls=(\d+),.*rejected_calls=(\d+)/.exec(line) ?? [];
  return { taken: Number(taken), refused: Number(refused) };
}

Deno.test("Redis peers: reports a joined node once, and no connected node as silent", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  await a.events.until(() => a.events.joined > 0, () => "no node joined");
  // Far more heartbeats than a silent node misses: each of the two nodes publishes one a second.
  await until(async () => (await callsOf(redis, "publish")).taken >= 14, "heartbeats");
  assertEquals([a, b].map(({ events: { joined, silences } }) => ({ joined, silences })), [
    { joined: 1, silences: [] },
    { joined: 0, silences: [] },
  ]);
});

Deno.test("Redis refusal: replaces refused hints once Redis accepts a heartbeat", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  for (const channel of [5, -6, 7]) await b.bus.subscribe(channel);
  await a.events.until(() => a.events.joined > 0, () => "no node joined");
  await redis.command("ACL", "SETUSER", "default", "-publish", "-ping"); // the only result is refusals
  for (const channel of [5, -6]) a.bus.publish(channel, message(1));
  a.bus.publish(7, { kind: "joined", group: 6 });
  await until(async () => (await callsOf(redis, "publish")).refused >= 3 + 8, "refused heartbeats too");
  assertEquals(b.events.hints, []);
  await redis.command("ACL", "SETUSER", "default", "+publish", "+ping");
  const look = { kind: "resync" } as const;
  assertEquals(await b.events.atLeast(3), [[5, look], [-6, look], [7, look]]);
  assertEquals(b.events.joined, 0);

  await redis.command("ACL", "SETUSER", "default", "-publish");
  const { refused } = await callsOf(redis, "publish");
  a.bus.publish(7, { kind: "takeover", loginEpoch: 2 }); // which no resync replaces
  await until(async () => (await callsOf(redis, "publish")).refused > refused + 4, "refused heartbeats too");
  await redis.command("ACL", "SETUSER", "default", "+publish");
  await b.events.until(() => b.events.joined > 0, () => "the other nodes do not check");
  const { taken } = await callsOf(redis, "publish");
  await until(async () => (await callsOf(redis, "publish")).taken >= taken + 6, "heartbeats");
  assertEquals([b.events.joined, b.events.hints.length], [1, 3], "once");
  assertEquals([a.events.downErrors, b.events.downErrors], [[], []]);
});

Deno.test("Redis refusal: a refused command fails alone, and subscriptions and hints continue", async () => {
  await using redis = await startRedis();
  const lines: string[] = [];
  const log = new Log("warn", "text", (line) => lines.push(line));
  await using a = await Node.open([redis.url], log);
  await using b = await Node.open([redis.url]);
  await redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction");
  await redis.command("CONFIG", "SET", "maxmemory", "1");
  await b.bus.subscribe(5);
  for (let i = 0; i < 3; i++) await assertRejects(() => a.bus.lock(5), BusUnavailableError, "OOM");
  await assertRejects(
    () => a.bus.tryConsume("test", { burst: 1, periodMs: 60_000 }, 1),
    BusUnavailableError,
    "OOM",
  );
  a.bus.publish(5, message(1));
  assertEquals(await b.events.atLeast(1), [[5, message(1)]]);
  assertEquals(await a.bus.online([5]), new Set([5]));
  assertEquals([a.events.downErrors, b.events.downErrors], [[], []]);
  assertEquals(lines.length, 1);
  assertStringIncludes(lines[0]!, "OOM");
  await redis.command("ACL", "SETUSER", "default", "-pubsub"); // the query for the subscribers of other nodes
  await assertRejects(() => a.bus.online([5]), BusUnavailableError, "NOPERM");
  await until(async () => (await callsOf(redis, "pubsub|numsub")).refused >= 5, "checks of the other node");
  await redis.command("ACL", "SETUSER", "default", "+pubsub", "-ping"); // the query that detects a lost Redis
  await until(async () => (await callsOf(redis, "ping")).refused >= 14, "more pings than Redis may miss");
  await redis.command("ACL", "SETUSER", "default", "+ping");
  await redis.command("CONFIG", "SET", "maxmemory", "0");
  await redis.command("REPLICAOF", "127.0.0.1", "1"); // of a master that does not exist
  await assertRejects(() => a.bus.lock(5), BusUnavailableError, "READONLY");
  a.bus.publish(5, message(2));
  assertEquals(await b.events.atLeast(2), [[5, message(1)], [5, message(2)]]);
  await redis.command("REPLICAOF", "NO", "ONE");
  await worksBetween(a, b);
  assertEquals([a.events.downErrors, a.events.left, b.events.downErrors], [[], 0, []]);
  await b.bus.close();
  await a.events.until(() => a.events.left > 0, () => "the closed node has not left");
});
