/** The bus over Redis, while Redis is there: heartbeats, and commands that it refuses. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { BusUnavailableError } from "../../lib/bus/bus.ts";
import { Log } from "../../lib/log.ts";
import { message } from "./bus_fixture.ts";
import { type Redis, startRedis } from "../harness/redis.ts";
import { until } from "../harness/wait.ts";
import { Node, worksBetween } from "./redis_node.ts";

/** How many calls of a command Redis has taken, and has refused. */
async function callsOf(redis: Redis, command: string): Promise<{ taken: number; refused: number }> {
  const stats = await redis.command("INFO", "commandstats");
  const line = stats.split("\n").find((line) => line.startsWith(`cmdstat_${command}:`)) ?? "";
  const [, taken = 0, refused = 0] = /:calls=(\d+),.*rejected_calls=(\d+)/.exec(line) ?? [];
  return { taken: Number(taken), refused: Number(refused) };
}

Deno.test("a node is told once that another has come, and those that are there are not silent", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  await a.heard.until(() => a.heard.arrived > 0, () => "no node came");
  // Far more heartbeats than must be missed: each of the two publishes one in a second.
  await until(async () => (await callsOf(redis, "publish")).taken >= 14, "heartbeats");
  assertEquals([a, b].map(({ heard: { arrived, silences } }) => ({ arrived, silences })), [
    { arrived: 1, silences: [] },
    { arrived: 0, silences: [] },
  ]);
});

Deno.test("what Redis refuses to publish is made up for as soon as it takes a heartbeat", async () => {
  await using redis = await startRedis();
  await using a = await Node.open([redis.url]);
  await using b = await Node.open([redis.url]);
  for (const channel of [5, -6, 7]) await b.bus.subscribe(channel);
  await a.heard.until(() => a.heard.arrived > 0, () => "no node came");
  await redis.command("ACL", "SETUSER", "default", "-publish", "-ping"); // nothing of it comes but refusals
  for (const channel of [5, -6]) a.bus.publish(channel, message(1));
  a.bus.publish(7, { kind: "joined", group: 6 });
  await until(async () => (await callsOf(redis, "publish")).refused >= 3 + 8, "refused heartbeats too");
  assertEquals(b.heard.hints, []);
  await redis.command("ACL", "SETUSER", "default", "+publish", "+ping");
  const look = { kind: "look" } as const;
  assertEquals(await b.heard.atLeast(3), [[5, look], [-6, look], [7, look]]);
  assertEquals(b.heard.arrived, 0);

  await redis.command("ACL", "SETUSER", "default", "-publish");
  const { refused } = await callsOf(redis, "publish");
  a.bus.publish(7, { kind: "takeover", loginEpoch: 2 }); // which no look makes up for
  await until(async () => (await callsOf(redis, "publish")).refused > refused + 4, "refused heartbeats too");
  await redis.command("ACL", "SETUSER", "default", "+publish");
  await b.heard.until(() => b.heard.arrived > 0, () => "the other nodes don't look");
  const { taken } = await callsOf(redis, "publish");
  await until(async () => (await callsOf(redis, "publish")).taken >= taken + 6, "heartbeats");
  assertEquals([b.heard.arrived, b.heard.hints.length], [1, 3], "once");
  assertEquals([a.heard.downs, b.heard.downs], [[], []]);
});

Deno.test("a refused command fails alone: subscriptions and hints go on", async () => {
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
  assertEquals(await b.heard.atLeast(1), [[5, message(1)]]);
  assertEquals(await a.bus.online([5]), new Set([5]));
  assertEquals([a.heard.downs, b.heard.downs], [[], []]);
  assertEquals(lines.length, 1);
  assertStringIncludes(lines[0]!, "OOM");
  await redis.command("ACL", "SETUSER", "default", "-pubsub"); // how others are counted, as when they are watched
  await assertRejects(() => a.bus.online([5]), BusUnavailableError, "NOPERM");
  await until(async () => (await callsOf(redis, "pubsub|numsub")).refused >= 5, "looks at the other node");
  await redis.command("ACL", "SETUSER", "default", "+pubsub", "-ping"); // how it is seen whether Redis is there
  await until(async () => (await callsOf(redis, "ping")).refused >= 14, "more looks than Redis may miss");
  await redis.command("ACL", "SETUSER", "default", "+ping");
  await redis.command("CONFIG", "SET", "maxmemory", "0");
  await redis.command("REPLICAOF", "127.0.0.1", "1"); // of a master that is not there
  await assertRejects(() => a.bus.lock(5), BusUnavailableError, "READONLY");
  a.bus.publish(5, message(2));
  assertEquals(await b.heard.atLeast(2), [[5, message(1)], [5, message(2)]]);
  await redis.command("REPLICAOF", "NO", "ONE");
  await worksBetween(a, b);
  assertEquals([a.heard.downs, a.heard.left, b.heard.downs], [[], 0, []]);
  await b.bus.close();
  await a.heard.until(() => a.heard.left > 0, () => "a node that has left isn't seen any more");
});
