/** The bus over a running Redis: one server, and a cluster. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { RedisBus } from "../../lib/bus/redis/redis_bus.ts";
import { keySlot } from "../../lib/bus/redis/key_slot.ts";
import { Signer } from "../../lib/bus/redis/signer.ts";
import { Log } from "../../lib/log.ts";
import { busContract } from "./bus_contract.ts";
import { EventRecorder, message, type TwoNodes } from "./bus_fixture.ts";
import { type Redis, type RedisCluster, SECRET, startRedis, startRedisCluster } from "../harness/redis.ts";
import { until } from "../harness/wait.ts";

const quiet = new Log("error", "text", () => {});

let one: Redis;
let cluster: RedisCluster;
Deno.test.beforeAll(async () => {
  [one, cluster] = await Promise.all([startRedis(), startRedisCluster()]);
});
Deno.test.afterAll(async () => {
  await Promise.all([one?.[Symbol.asyncDispose](), cluster?.[Symbol.asyncDispose]()]);
});

busContract("Redis", () => Promise.resolve(twoOn([one.url])));
busContract("Redis Cluster", () => Promise.resolve(twoOn(cluster.urls)));

/** Registers a test on one Redis, and again on the cluster. */
function both(name: string, body: (urls: readonly string[]) => Promise<void>): void {
  Deno.test(`Redis: ${name}`, () => body([one.url]));
  Deno.test(`Redis Cluster: ${name}`, () => body(cluster.urls));
}

function twoOn(urls: readonly string[], log = quiet, deployments = ["d", "d"]): TwoNodes {
  const [a, b] = deployments.map((deployment) => new RedisBus(urls, log, deployment, SECRET)) as [
    RedisBus,
    RedisBus,
  ];
  return { a, b, close: async () => void await Promise.all([a.close(), b.close()]) };
}

async function withTwo(
  urls: readonly string[],
  body: (nodes: TwoNodes, atA: EventRecorder, atB: EventRecorder) => Promise<void>,
  log?: Log,
  deployments?: string[],
): Promise<void> {
  const nodes = twoOn(urls, log, deployments);
  const [atA, atB] = [new EventRecorder(), new EventRecorder()];
  try {
    await Promise.all([nodes.a.open(atA), nodes.b.open(atB)]);
    await body(nodes, atA, atB);
    assertEquals([atA.downErrors, atB.downErrors], [[], []]);
  } finally {
    await nodes.close();
  }
}

both(
  "delivers 20,000 hints at once in order, and none to their own node",
  (urls) =>
    withTwo(urls, async ({ a, b }, atA, atB) => {
      const channels = Array.from({ length: 100 }, (_, i) => i % 2 === 0 ? i + 1 : -i);
      await Promise.all(channels.flatMap((channel) => [a.subscribe(channel), b.subscribe(channel)]));
      for (let seq = 1; seq <= 200; seq++) for (const channel of channels) a.publish(channel, message(seq));
      const came = Map.groupBy(await atB.atLeast(20_000), ([channel]) => channel);
      for (const channel of channels) {
        const seqs = came.get(channel)!.map(([, hint]) => hint.kind === "message" ? hint.message.seq : 0);
        assertEquals(seqs, Array.from({ length: 200 }, (_, i) => i + 1));
      }
      await a.online([1]); // its reply follows all earlier messages
      assertEquals(atA.hints, []);
    }),
);

both(
  "subscribes, counts and unsubscribes thousands of channels at once",
  (urls) =>
    withTwo(urls, async ({ a, b }) => {
      const users = Array.from({ length: 2_500 }, (_, i) => i + 1);
      await Promise.all(users.map((user) => a.subscribe(user)));
      assertEquals(await b.online([...users, 9_999]), new Set(users));
      await Promise.all(users.map((user) => user % 2 === 0 ? a.unsubscribe(user) : undefined));
      assertEquals(await b.online(users), new Set(users.filter((user) => user % 2 === 1)));
    }),
);

both(
  "runs calls for a channel in order without waiting between them",
  (urls) =>
    withTwo(urls, async ({ a, b }) => {
      void a.subscribe(1);
      void a.unsubscribe(1);
      void a.subscribe(1);
      void a.subscribe(2);
      assertEquals(await a.online([1, 2]), new Set([1, 2]));
      void a.unsubscribe(2);
      void a.subscribe(2);
      void a.unsubscribe(2);
      assertEquals(await a.online([1, 2]), new Set([1]));
      const again = [a.unsubscribe(1), a.subscribe(1)];
      await again[1];
      assertEquals(await b.online([1, 2]), new Set([1]));
      let confirmed = false;
      void a.subscribe(3).then(() => confirmed = true);
      for (let i = 0; i < 10; i++) await Promise.resolve(); // the command is sent and has no reply yet
      await a.subscribe(3);
      assert(confirmed, "subscribing again waits for what was asked before");
    }),
);

both("grants a lock within a node in the order of requests", (urls) =>
  withTwo(urls, async ({ a }) => {
    const order: number[] = [];
    const release = await a.lock(1);
    const waiting = [0, 1, 2, 3].map(async (i) => {
      const release = await a.lock(1);
      order.push(i);
      await release();
    });
    await release();
    await Promise.all(waiting);
    assertEquals(order, [0, 1, 2, 3]);
  }));

Deno.test("Redis: does not release a lost lock that another node holds", () =>
  withTwo([one.url], async ({ a, b }) => {
    const late = await a.lock(1);
    await one.command("DEL", "chat:d:lock:{1}"); // as if it had expired
    const release = await b.lock(1);
    await late();
    assertEquals(await one.command("EXISTS", "chat:d:lock:{1}"), "1");
    await release();
    assertEquals(await one.command("EXISTS", "chat:d:lock:{1}"), "0");
  }));

Deno.test("Redis: the key of a bucket expires when the bucket is full", () =>
  withTwo([one.url], async ({ a, b }) => {
    const [key, quota] = ["chat:d:bucket:{mine}", { burst: 10, periodMs: 3_600_000 }];
    assertEquals(await a.tryConsume("mine", quota, 4), 0);
    const ttl = Number(await one.command("PTTL", key));
    assert(ttl > 0.4 * quota.periodMs - 60_000 && ttl <= 0.4 * quota.periodMs, `${ttl} ms`);
    assertEquals(await b.tryConsume("mine", quota, -4), 0);
    assertEquals(await one.command("EXISTS", key), "0");
    assertEquals(await a.tryConsume("mine", { burst: 1, periodMs: 1 }, 1), 0);
    await until(async () => await one.command("EXISTS", key) === "0", "the key to expire");
    await one.command("SET", key, "nonsense");
    assertEquals(await a.tryConsume("mine", quota, 10), 0);
    await one.command("SCRIPT", "FLUSH"); // as a restart does
    assert(await b.tryConsume("mine", quota, 1) > 0);
  }));

Deno.test("Redis: an empty bucket is empty, and not worse, when the clock is set back", () =>
  withTwo([one.url], async ({ a }) => {
    const quota = { burst: 10, periodMs: 3_600_000 };
    // Microseconds, as stored before the clock was set back.
    const tomorrow = 1_000 * (Date.now() + 86_400_000);
    await one.command("SET", "chat:d:bucket:{back}", `${tomorrow}`, "PX", "86400000");
    const wait = await a.tryConsume("back", quota, 10);
    assert(wait > 0 && wait <= quota.periodMs, `${wait} ms`);
  }));

Deno.test("Redis Cluster: connects by one address", () =>
  withTwo(cluster.urls.slice(2), async ({ a, b }, _, atB) => {
    for (const user of [1, 2, 3, 4]) await b.subscribe(user);
    for (const user of [1, 2, 3, 4]) await (await a.lock(user))();
    for (const user of [1, 2, 3, 4]) a.publish(user, { kind: "resync" });
    await atB.atLeast(4);
  }));

Deno.test("Redis: ignores unknown messages, and logs one warning", async () => {
  const lines: string[] = [];
  const begun = performance.now();
  await withTwo([one.url], async ({ a, b }, _, atB) => {
    await b.subscribe(5);
    const sender = "0123456789abcdef";
    const id = `${sender}1`; // with the version
    const strange = [
      `${sender}["l"]`, // of a release before versions
      `${sender}2["l"]`,
      `${sender}2["h"]`,
      `${id}{}`,
      `${id}[]`,
      `${id}["m",1]`,
      `${id}["m","1",2,"ann","cid","body",3]`,
      `${id}["p","7"]`,
      `${id}["h"]`,
      `${id}["x",1]`,
    ];
    const signer = new Signer(SECRET); // as a newer release signs a kind that this one does not know
    for (const payload of strange) {
      const signed = signer.sign(5, payload.slice(0, id.length), payload.slice(id.length));
      await one.command("PUBLISH", "chat:d:u:{5}", signed);
    }
    await one.command("PUBLISH", "chat:d:{nodes}", signer.sign(0, id, "{}"));
    await one.command("PUBLISH", "chat:d:u:{6}", signer.sign(6, id, "{}"));
    a.publish(5, message(1));
    assertEquals(await atB.atLeast(1), [[5, message(1)]]);
  }, new Log("warn", "text", (line) => lines.push(line)));
  assert(lines.length > 0);
  for (const line of lines) assertStringIncludes(line, "ignored messages of an unknown kind or version");
  const minutes = Math.ceil((performance.now() - begun) / 60_000);
  assert(lines.length <= 2 * (1 + minutes), lines.join("")); // by each of two nodes, once a minute
});

both(
  "two deployments share no hints, presence, locks or buckets",
  (urls) =>
    withTwo(
      urls,
      async ({ a, b }, atA, atB) => {
        const quota = { burst: 1, periodMs: 3_600_000 };
        for (const channel of [5, -6]) await b.subscribe(channel);
        for (const channel of [5, -6]) a.publish(channel, message(1));
        assertEquals(await a.online([5]), new Set());
        const releases = [await a.lock(5), await b.lock(5)]; // neither waits
        for (const bus of [a, b]) assertEquals(await bus.tryConsume("shared", quota, 1), 0);
        for (const release of releases) await release();
        assertEquals(await b.online([5]), new Set([5])); // its reply follows all earlier messages
        assertEquals([atB.hints, atA.joined, atB.joined], [[], 0, 0]);
      },
      undefined,
      ["one", "two"],
    ),
);

Deno.test("Redis: two deployments lock the same user id at the same time", () =>
  withTwo(
    [one.url],
    async ({ a, b }) => {
      const releases = [await a.lock(5), await b.lock(5)];
      assertEquals(await one.command("EXISTS", "chat:one:lock:{5}", "chat:two:lock:{5}"), "2");
      for (const release of releases) await release();
    },
    undefined,
    ["one", "two"],
  ));

Deno.test("Redis: rejects an invalid address without showing it", () => {
  for (
    const url of ["", "host:6379", "http://user:geheim@host", "redis://", "redis://x:geheim@:6379", "geheim"]
  ) {
    const { message } = assertThrows(() => new RedisBus([url], quiet, "d", SECRET), TypeError);
    assertStringIncludes(message, "redis://");
    assert(!message.includes("geheim"));
  }
  assertThrows(() => new RedisBus([], quiet, "d", SECRET), TypeError);
});

Deno.test("Redis Cluster: computes the slot of a name as Redis does", async () => {
  for (
    const name of ["chat:d:u:{5}", "chat:d:{nodes}:1", "chat", "", "{}x", "a{b}{c}", "{x", "ü{😀}", "}{y}"]
  ) {
    assertEquals(keySlot(name), Number(await cluster.masters[0]!.command("CLUSTER", "KEYSLOT", name)), name);
  }
});

Deno.test("Redis: rejects a replica by a log line that names the reason", async () => {
  await using replica = await startRedis();
  await replica.command("REPLICAOF", "127.0.0.1", `${one.port}`);
  const lines: string[] = [];
  const bus = new RedisBus([replica.url], new Log("info", "text", (line) => lines.push(line)), "0", SECRET);
  const events = new EventRecorder();
  try {
    const opening = bus.open(events).catch(() => {});
    await until(() => lines.some((line) => line.includes("is a replica")) || undefined, "a refusal");
    const line = lines.find((line) => line.includes("is a replica"))!;
    assertStringIncludes(line, `127.0.0.1:${replica.port}`);
    await bus.close();
    await opening;
  } finally {
    await bus.close();
  }
});
