/**
 * The daily storage quota of an account: to the byte, in the whole cluster, and in the order of its messages.
 */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { KeyedRateLimiter } from "../../lib/bus/gcra.ts";
import { type Bus, BusUnavailableError } from "../../lib/bus/bus.ts";
import { RequestError } from "../../lib/server/protocol/reply_body.ts";
import { ROW_BYTES, StorageQuota, storedBytes } from "../../lib/server/limits/storage_quota.ts";
import type { Appended, Rejection } from "../../lib/store/store.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser, register } from "../harness/framed_client.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { startServer, withServer } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";

const DAILY_BYTES = 1_048_576; // the smallest permitted value
const ARGS = ["--daily-bytes", `${DAILY_BYTES}`];
const LONG_TEXT = "x".repeat(60_000);
const MAX_RETRY_AFTER_MS = 60_000; // ms, the greatest retry_after

const mariadb = sharedMariadb();

/** A bus with a stopped clock and slow replies. */
function slowBus(buckets = new KeyedRateLimiter(() => 0)): Pick<Bus, "tryConsume"> & { asked: number } {
  return {
    asked: 0,
    async tryConsume(bucket, quota, count) {
      this.asked++;
      await pause(1);
      return buckets.tryConsume(bucket, quota, count);
    },
  };
}

const stored = (isRepeat: boolean): Promise<Appended | Rejection> =>
  Promise.resolve(isRepeat ? { refused: "over_quota" } : { seq: 1, time: 0, duplicate: false });

Deno.test("daily-bytes: takes messages up to the last byte, and not one more", async () => {
  const quota = new StorageQuota(slowBus(), DAILY_BYTES);
  const session = { user: 1 };
  let left = DAILY_BYTES;
  for (let size = 1; left > size; size = (size * 7) % 50_000) {
    await quota.store(session, size, stored);
    left -= size;
  }
  await quota.store(session, left, stored);
  for (const again of [session, { user: 1 }]) {
    const asked: boolean[] = [];
    const look = (isRepeat: boolean): Promise<Rejection> => {
      asked.push(isRepeat);
      return Promise.resolve({ refused: "over_quota" });
    };
    const error = await assertRejects(() => quota.store(again, 1, look), RequestError);
    assertEquals([error.errno, asked], [Errno.RATE_LIMITED, [true]]);
    assert(error.retryAfter! > 0 && error.retryAfter! <= MAX_RETRY_AFTER_MS);
  }
  await quota.store({ user: 2 }, 1, stored); // each account has its own quota
});

Deno.test("daily-bytes: does not count repeated messages", async () => {
  const quota = new StorageQuota(slowBus(), DAILY_BYTES);
  const session = { user: 1 };
  const half = DAILY_BYTES / 2;
  await quota.store(session, half, stored);
  const outcomes: (() => Promise<Appended | Rejection>)[] = [
    () => Promise.resolve({ seq: 1, time: 0, duplicate: true }),
    () => Promise.resolve({ refused: "not_found" }),
    () => Promise.reject(new Error("the store is unavailable")),
  ];
  for (const outcome of outcomes) await quota.store(session, half, outcome).catch(() => {});
  await quota.store(session, half, stored);
  await assertRejects(() => quota.store(session, 1, stored), RequestError);
});

Deno.test("daily-bytes: stores messages in order during requests to the bus, which are rare", async () => {
  const bus = slowBus();
  const quota = new StorageQuota(bus, DAILY_BYTES);
  const session = { user: 1 };
  const order: number[] = [];
  const all: Promise<unknown>[] = [];
  for (let i = 0; i < 1_000; i++) {
    all.push(
      quota.store(session, i % 20 === 0 ? 5_000 : 10, (isRepeat) => (order.push(i), stored(isRepeat))),
    );
    if (i % 50 === 0) await pause(1);
  }
  await Promise.all(all);
  assertEquals(order, Array.from({ length: 1_000 }, (_, i) => i));
  assert(bus.asked < 30, `${bus.asked} questions`);
});

Deno.test("daily-bytes: a node counts by itself while the bus is unavailable", async () => {
  const bus = { tryConsume: () => Promise.reject(new BusUnavailableError("gone")) };
  const quota = new StorageQuota(bus, DAILY_BYTES, new KeyedRateLimiter(() => 0));
  await quota.store({ user: 1 }, DAILY_BYTES, stored);
  await assertRejects(() => quota.store({ user: 1 }, 1, stored), RequestError);
});

Deno.test("daily-bytes: counts the UTF-8 bytes of a message, and 0 means no limit", async () => {
  assertEquals(storedBytes("aé中😀", "ü"), ROW_BYTES + 1 + 2 + 3 + 4 + 2);
  const quota = new StorageQuota({ tryConsume: () => Promise.reject(new Error("asked")) }, 0);
  await quota.store({ user: 1 }, 2 * DAILY_BYTES, stored);
});

/** Sends long messages until one is refused, and returns the number of stored ones. */
async function fill(client: FramedClient, to: number): Promise<number> {
  for (let count = 0;; count++) {
    const { errno, errmsg, retry_after } = await client.chat(to, LONG_TEXT);
    if (errno === Errno.OK) continue;
    assertEquals([errno, errmsg], [
      Errno.RATE_LIMITED,
      "storage quota exceeded: the account has stored its daily maximum",
    ]);
    assert(retry_after! > 0 && retry_after! <= MAX_RETRY_AFTER_MS);
    return count;
  }
}

const MAX_MESSAGES = Math.floor(DAILY_BYTES / (ROW_BYTES + LONG_TEXT.length)); // with their short cids

/** Asserts that a repeated message is acknowledged without another row, and is not stored elsewhere. */
async function acceptsRepeats(client: FramedClient, to: number, cid: string): Promise<void> {
  for (let i = 0; i < 3; i++) assertEquals((await client.chat(to, LONG_TEXT, cid)).seq, 1);
  assertEquals((await client.chat(to, LONG_TEXT, `${cid} not`)).errno, Errno.RATE_LIMITED);
}

Deno.test("daily-bytes: limits one account on the embedded store, groups included, and no other", async () => {
  await withServer({ args: ARGS }, async (server) => {
    await using alice = await newUser(server);
    await using bob = await newUser(server);
    const { groupid } = await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname: "g" });
    const cid = "again";
    for (let i = 0; i < 2 * MAX_MESSAGES; i++) {
      assertEquals((await alice.chat(bob.id, LONG_TEXT, cid)).errno, Errno.OK);
    }
    assertEquals(await fill(alice, bob.id), MAX_MESSAGES - 1);
    const group = await alice.request({ msgid: Msg.GROUP_CHAT, groupid, msg: LONG_TEXT });
    assertEquals(group.errno, Errno.RATE_LIMITED);
    await acceptsRepeats(alice, bob.id, cid);
    assertEquals((await bob.chat(alice.id, LONG_TEXT)).errno, Errno.OK);
  });
});

mariadb.test("daily-bytes: nodes count together", async (db) => {
  await using redis = await startRedis();
  const args = [...ARGS, "--mysql", db.url, "--redis", redis.url];
  await using one = await startServer({ args });
  await using two = await startServer({ args });
  const to = await register(one);
  const alice = await newUser(one);
  assertEquals((await alice.chat(to, LONG_TEXT, "first")).seq, 1);
  assertEquals(await fill(alice, to), MAX_MESSAGES - 1);
  await alice.close();
  await using again = await login(two, { id: alice.id });
  assertEquals(await fill(again, to), 0);
  await acceptsRepeats(again, to, "first");
});
