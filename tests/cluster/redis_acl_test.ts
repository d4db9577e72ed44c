/** The rules for the Redis user in docs/SECURITY.md: they allow all that the bus needs, and nothing else. */
import { assertEquals, assertRejects } from "@std/assert";
import { Redis as Client } from "ioredis";
import { RedisBus } from "../../lib/bus/redis/redis_bus.ts";
import { Log } from "../../lib/log.ts";
import { busContract } from "./bus_contract.ts";
import type { TwoNodes } from "./bus_fixture.ts";
import { ROOT } from "../harness/program.ts";
import {
  disconnect,
  type Redis,
  type RedisCluster,
  SECRET,
  startRedis,
  startRedisCluster,
} from "../harness/redis.ts";

const quiet = new Log("error", "text", () => {});
const document = await Deno.readTextFile(new URL("docs/SECURITY.md", ROOT));

/** The rules for a single server, and those for each server of a cluster. */
const [forOne, forCluster] = [...document.matchAll(/^ACL SETUSER chat .*$/gm)].map(([line]) =>
  line.replaceAll("DEPLOYMENT", "d").replace("PASSWORD", "geheim").split(" ")
);

/** A user with all rights for the operator, so that the default user can be disabled. */
const OPERATOR = ["ACL", "SETUSER", "operator", "on", ">operator", "~*", "&*", "+@all"];

/** Commands that are always allowed, and commands of the test itself. */
const ALWAYS = ["hello", "auth"];
const BY_TEST = ["acl|setuser", "info", "config|resetstat"];

let one: Redis;
let cluster: RedisCluster;
Deno.test.beforeAll(async () => {
  [one, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
  for (const server of [one, ...cluster.masters]) {
    await server.command(...server === one ? forOne! : forCluster!);
    await server.command(...OPERATOR);
    await server.command("CONFIG", "RESETSTAT");
    await server.command("ACL", "SETUSER", "default", "off");
  }
});
Deno.test.afterAll(async () => {
  await Promise.all([one?.[Symbol.asyncDispose](), cluster?.[Symbol.asyncDispose]()]);
});

busContract("Redis with its rules", () => Promise.resolve(twoOn([one])));
busContract("Redis Cluster with its rules", () => Promise.resolve(twoOn(cluster.masters)));

function twoOn(servers: readonly Redis[]): TwoNodes {
  const urls = servers.map(({ url }) => as("chat", "geheim", url));
  const [a, b] = [new RedisBus(urls, quiet, "d", SECRET), new RedisBus(urls, quiet, "d", SECRET)];
  return { a, b, close: async () => void await Promise.all([a.close(), b.close()]) };
}

function as(user: string, password: string, url: string): string {
  return url.replace("://", `://${user}:${password}@`);
}

async function withClient<T>(url: string, body: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client(url, { enableReadyCheck: false, disableClientInfo: true });
  try {
    return await body(client);
  } finally {
    await disconnect(client);
  }
}

// After the tests above, which run all commands.
Deno.test("Redis rules: allow exactly the commands that the bus calls", async () => {
  for (const [servers, rules] of [[[one], forOne!], [cluster.masters, forCluster!]] as const) {
    const allowed = rules.filter((rule) => rule.startsWith("+")).map((rule) => rule.slice(1));
    const called = new Set<string>();
    for (const { url } of servers) {
      const stats = await withClient(
        as("operator", "operator", url),
        (client) => client.info("commandstats"),
      );
      for (const [, name] of stats.matchAll(/^cmdstat_(\S+?):/gm)) called.add(name!);
    }
    const expected = [...called].filter((name) => ![...ALWAYS, ...BY_TEST].includes(name));
    assertEquals(allowed.sort(), expected.sort());
  }
});

Deno.test("Redis rules: reject other names, other commands and other users", async () => {
  for (const server of [one, cluster.masters[0]!]) {
    await withClient(as("chat", "geheim", server.url), async (client) => {
      const refused: readonly (readonly [string, ...string[]])[] = [
        ["GET", "other"],
        ["SET", "chat:other:lock:{1}", "x"],
        ["PUBLISH", "chat:other:{nodes}", "x"],
        ["SPUBLISH", "chat:other:{nodes}", "x"],
        ["EVAL", "return redis.call('KEYS', '*')", "0"],
        ["KEYS", "*"],
        ["FLUSHALL"],
        ["CONFIG", "GET", "*"],
        ["ACL", "LIST"],
        ["MONITOR"],
        ["PSUBSCRIBE", "*"],
        ["SUBSCRIBE", "chat:other:{nodes}"],
      ];
      for (const [command, ...args] of refused) {
        const { message } = await assertRejects(() => client.call(command, ...args), Error);
        assertEquals(
          /NOPERM|No permissions|can't run this command|ACL failure in script/.test(message),
          true,
          `${command}: ${message}`,
        );
      }
    });
    await assertRejects(() =>
      server.command("PING").then((answer) => {
        if (answer !== "PONG") throw new Error(answer);
      }), Error);
  }
});
