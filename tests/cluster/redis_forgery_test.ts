/** The bus over a Redis that other programs use too: their messages and keys change nothing. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Redis as Client } from "ioredis";
import { decode, encode, headerOf } from "../../lib/bus/redis/payload.ts";
import { RedisBus } from "../../lib/bus/redis/redis_bus.ts";
import { ReplayGuard } from "../../lib/bus/redis/replay_guard.ts";
import { Signer } from "../../lib/bus/redis/signer.ts";
import { Log } from "../../lib/log.ts";
import { EventRecorder, hints, message } from "./bus_fixture.ts";
import { Random } from "../harness/random.ts";
import { disconnect, type Redis, SECRET, startRedis } from "../harness/redis.ts";
import { until } from "../harness/wait.ts";

const USER = 5;
const HEADING = headerOf("0123456789abcdef");
const LEASE_MS = 5_000; // milliseconds that a node's lock lives at most
/** In the format of releases before signatures. */
const unsigned = [
  ...hints.map((hint) => HEADING + encode(hint)),
  `${HEADING}["h"]`,
  `${HEADING}["b"]`,
  `${HEADING}["e"]`,
];

let redis: Redis;
Deno.test.beforeAll(async () => {
  redis = await startRedis();
});
Deno.test.afterAll(() => redis?.[Symbol.asyncDispose]());

/** Two nodes, their received hints, and another client of the same Redis. */
interface Scene {
  readonly a: RedisBus;
  readonly b: RedisBus;
  readonly atA: EventRecorder;
  readonly atB: EventRecorder;
  readonly other: Client;
  readonly lines: readonly string[];
}

async function scene(body: (scene: Scene) => Promise<void>): Promise<void> {
  const lines: string[] = [];
  const log = new Log("warn", "text", (line) => lines.push(line));
  const [a, b] = [new RedisBus([redis.url], log, "d", SECRET), new RedisBus([redis.url], log, "d", SECRET)];
  const [atA, atB] = [new EventRecorder(), new EventRecorder()];
  const other = new Client(redis.url);
  try {
    await Promise.all([a.open(atA), b.open(atB)]);
    await body({ a, b, atA, atB, other, lines });
    assertEquals([atA.downErrors, atB.downErrors], [[], []], "no outage");
  } finally {
    await Promise.all([a.close(), b.close()]);
    await disconnect(other);
    await redis.command("FLUSHALL");
  }
}

/** Records all payloads of nodes with their channels. `done` ends the recording. */
async function record(): Promise<{ published: [string, string][]; done: () => Promise<void> }> {
  const published: [string, string][] = [];
  const client = new Client(redis.url);
  client.on("pmessage", (_, channel: string, payload: string) => published.push([channel, payload]));
  await client.psubscribe("chat:*");
  return { published, done: () => disconnect(client) };
}

Deno.test("forgery: ignores unsigned messages of every kind, and logs their number once", () =>
  scene(async ({ a, b, atA, atB, other, lines }) => {
    await Promise.all([b.subscribe(USER), b.subscribe(-USER)]);
    const arrived = [atA.joined, atB.joined];
    for (let round = 0; round < 20; round++) {
      for (const channel of ["chat:d:u:{5}", "chat:d:g:{5}", "chat:d:{nodes}"]) {
        for (const payload of unsigned) await other.publish(channel, payload);
      }
    }
    a.publish(USER, message(2));
    assertEquals(await atB.atLeast(1), [[USER, message(2)]]);
    assertEquals([atA.joined, atB.joined], arrived, "no node has joined");
    assertEquals([atA.left, atB.left], [0, 0], "no node has left");
    assert(lines.length <= 2 * 2, lines.join("")); // by each of two nodes, and a minute may have passed
    for (const line of lines) {
      assertStringIncludes(line, "ignored messages without this deployment's signature");
    }
  }));

Deno.test("forgery: a signature is valid for its text, channel, key and epoch only", () =>
  scene(async ({ a, b, atB, other }) => {
    await Promise.all([b.subscribe(USER), b.subscribe(-USER), b.subscribe(USER + 2 ** 32)]);
    const [right, wrong, later] = [new Signer(SECRET), new Signer("5f".repeat(32)), new Signer(SECRET)];
    later.adopt("later");
    for (const hint of hints) {
      const array = encode(hint);
      const signed = right.sign(USER, HEADING, array);
      const random = new Random(1);
      const at = (index: number) => {
        const code = signed.charCodeAt(index);
        return signed.slice(0, index) + String.fromCharCode(code ^ 1) + signed.slice(index + 1);
      };
      const bad = [
        wrong.sign(USER, HEADING, array),
        later.sign(USER, HEADING, array),
        ...[-USER, USER + 1, 0, USER + 2 ** 32].map((channel) => right.sign(channel, HEADING, array)),
        ...Array.from(signed, (_, index) => at(index)).filter((altered) => altered !== signed),
        signed.slice(0, -1),
        `${signed} `,
        `${signed.slice(0, -1)},1]`,
        HEADING + array,
        random.text(50),
      ];
      for (const payload of bad) await other.publish("chat:d:u:{5}", payload);
      await other.publish("chat:d:g:{5}", signed);
      await other.publish("chat:d:u:{4294967301}", signed);
    }
    a.publish(USER, message(2));
    assertEquals(await atB.atLeast(1), [[USER, message(2)]]);
    for (const hint of hints) {
      await other.publish("chat:d:u:{5}", right.sign(USER, HEADING, encode(hint)));
    }
    assertEquals(await atB.atLeast(1 + hints.length), [
      [USER, message(2)],
      ...hints.map((hint) => [USER, hint]),
    ]);
  }));

Deno.test("forgery: ignores messages of another epoch, and later replays of them", () =>
  scene(async ({ a, b, atB, other }) => {
    const { published, done } = await record();
    try {
      for (const bus of [a, b]) bus.adopt("one");
      await b.subscribe(USER);
      a.publish(USER, message(1));
      await atB.atLeast(1);
      a.adopt("two");
      a.publish(USER, message(2));
      await a.online([USER]);
      await until(
        () => published.filter(([channel]) => channel === "chat:d:u:{5}").length === 2,
        "both recorded",
      );
      b.adopt("two");
      for (const [channel, payload] of [...published]) await other.publish(channel, payload);
      a.publish(USER, message(3));
      // The second one was ignored when it arrived, and has b's present epoch.
      assertEquals(await atB.atLeast(3), [1, 2, 3].map((seq) => [USER, message(seq)]));
    } finally {
      await done();
    }
  }));

Deno.test("forgery: counts a replayed hello or heartbeat once", () =>
  scene(async ({ b, atB, other }) => {
    const { published, done } = await record();
    const late = new RedisBus([redis.url], new Log("error", "text", () => {}), "d", SECRET);
    try {
      const before = atB.joined;
      await late.open(new EventRecorder());
      await atB.until(() => atB.joined === before + 1, () => "the late node was not events");
      const kinds = () => published.map(([, payload]) => decode(payload)?.kind);
      await until(() => kinds().includes("hello") && kinds().includes("beat"), "both kinds recorded");
      for (let round = 0; round < 10; round++) {
        for (const [channel, payload] of [...published]) await other.publish(channel, payload);
      }
      await late.subscribe(USER);
      b.publish(USER, message(1)); // on the same channel, so that all others arrived before it
      assertEquals(await b.online([USER]), new Set([USER]));
      assertEquals(atB.joined, before + 1);
    } finally {
      await late.close();
      await done();
    }
  }));

Deno.test("forgery: remembers the counts of the nodes events last, up to the bound", () => {
  const counters = new ReplayGuard(2);
  assertEquals([1, 1, 3, 2, 3, 4].map((count) => counters.isNew("a", count)), [
    true,
    false,
    true,
    false,
    false,
    true,
  ]);
  assertEquals(counters.isNew("b", 1), true);
  assertEquals(counters.isNew("a", 5), true);
  assertEquals(counters.isNew("c", 1), true); // b is evicted for it
  assertEquals(["a", "c", "b"].map((node) => counters.isNew(node, 1)), [false, false, true]);
});

Deno.test("forgery: releases before signatures can read signed payloads", () => {
  for (const hint of hints) {
    const plain = HEADING + encode(hint);
    const signed = new Signer(SECRET).sign(USER, HEADING, encode(hint));
    assertEquals(signed.slice(0, 17), plain.slice(0, 17)); // sender and version
    const [before, after] = [plain, signed].map((text) => JSON.parse(text.slice(17)) as unknown[]);
    assertEquals(after!.slice(0, -1), before); // they read the first elements only
  }
});

Deno.test("forgery: replaces a lock's key that no node has written, and logs it", () =>
  scene(async ({ a, b, lines }) => {
    const key = "chat:d:lock:{1}";
    const written: readonly string[][] = [
      ["RPUSH", key, "x"],
      ["SET", key, "for ever"],
      ["SET", key, "for long", "PX", `${10 * LEASE_MS}`],
    ];
    for (const command of written) {
      await redis.command(...command);
      const release = await a.lock(1); // rejects after too long a wait
      const ttl = Number(await redis.command("PTTL", key));
      assert(ttl >= 0 && ttl <= LEASE_MS, `${command}: ${ttl} ms`);
      await release();
      assertEquals(await redis.command("EXISTS", key), "0");
    }
    assertEquals(lines.length, 1, lines.join(""));
    assertStringIncludes(lines[0]!, "replaced a key in Redis that no node has written");
    assertStringIncludes(lines[0]!, key);
    const release = await a.lock(1);
    let taken = false;
    const second = b.lock(1).then((release) => {
      taken = true;
      return release;
    });
    await until(
      async () => (await redis.command("INFO", "commandstats")).includes("cmdstat_eval"),
      "a second try",
    );
    assertEquals(taken, false, "the node retains its lock");
    await release();
    await (await second)();
  }));

Deno.test("forgery: treats a bucket's key that no node has written as missing", () =>
  scene(async ({ a, b, lines }) => {
    const key = "chat:d:bucket:{mine}";
    const quota = { burst: 10, periodMs: 3_600_000 };
    const written: readonly string[][] = [
      ["RPUSH", key, "x"],
      ["EVAL", "redis.call('RPUSH', KEYS[1], 'x'); redis.call('PEXPIRE', KEYS[1], 3600000)", "1", key],
      ["SET", key, "9e99"], // an empty bucket without an end
      ["SET", key, "nan", "PX", "3600000"],
      ["SET", key, "nonsense", "PX", "3600000"],
    ];
    for (const command of written) {
      await redis.command(...command);
      assertEquals(await a.tryConsume("mine", quota, 10), 0, `${command}`);
      assert(await b.tryConsume("mine", quota, 1) > 0, `${command}`);
      assert(Number(await redis.command("PTTL", key)) > 0);
      await redis.command("DEL", key);
    }
    assertEquals(lines.length, 1, lines.join(""));
    assertStringIncludes(lines[0]!, "replaced a key in Redis that no node has written");
  }));

Deno.test("forgery: signs and verifies payloads of any length and text, after any others", () => {
  const [one, other] = [new Signer(SECRET), new Signer(SECRET)];
  const random = new Random(3);
  const encoder = new TextEncoder();
  for (let i = 0; i < 500; i++) {
    const body = random.text(i % 50 === 0 ? 20_000 : 200);
    const channel = random.pick([0, 1, -1, 2 ** 31 + 5, -(2 ** 31) - 5]);
    const heading = headerOf(random.pick(["0123456789abcdef", "fedcba9876543210"]));
    const signed = one.sign(channel, heading, JSON.stringify(["m", body]));
    assert(other.verify(channel, encoder.encode(signed)), body);
    assertEquals(JSON.parse(signed.slice(17)).slice(0, 2), ["m", body]);
    for (const wrong of [channel + 1, channel + 2 ** 32]) {
      assertEquals(other.verify(wrong, encoder.encode(signed)), false);
    }
  }
});

Deno.test("forgery: a node without signatures counts as silent, so the others poll", async () => {
  const old = new Client(redis.url);
  const beats = new Client(redis.url);
  const bus = new RedisBus([redis.url], new Log("error", "text", () => {}), "d", SECRET);
  const events = new EventRecorder();
  const beating = setInterval(() => beats.publish("chat:d:{nodes}", `${HEADING}["b"]`), 200);
  try {
    await old.subscribe("chat:d:{nodes}:0123456789abcdef");
    await bus.open(events);
    await events.until(() => events.silences.length > 0, () => "the node does not count as silent");
    assertEquals([events.silences, events.left, events.downErrors], [[true], 0, []]);
    await disconnect(old);
    await events.until(() => events.left > 0, () => "the node did not leave");
    assertEquals([events.silences, events.left], [[true], 1]); // as a node that left without a goodbye
  } finally {
    clearInterval(beating);
    await bus.close();
    if (old.status !== "end") await disconnect(old);
    await disconnect(beats);
  }
});
