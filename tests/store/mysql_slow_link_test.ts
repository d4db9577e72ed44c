/**
 * The MySQL store over a slow link: batches adapt to the link, and no call is rejected because of another
 * one.
 */
import { assertEquals, assertLess } from "@std/assert";
import { BatchSize } from "../../lib/store/mysql/batch_size.ts";
import type { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { Relay } from "../harness/relay.ts";
import { pause } from "../harness/wait.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { granted, makeUsers, NOON, send, whole } from "./store_fixture.ts";

const mariadb = sharedMariadb();

const KIB = 1_024;

/** Bytes per second. A batch of all messages of a test would time out. */
const SLOW_BYTES_PER_SECOND = 75_000;

Deno.test("batch size: doubles after fast full batches, and halves after slow ones, within bounds", () => {
  const size = new BatchSize(Infinity);
  assertEquals(size.length, 256 * KIB);
  size.recordDuration(499, 128 * KIB); // the shortest text that says something about the link
  assertEquals(size.length, 512 * KIB);
  size.recordDuration(499, 256 * KIB - 1);
  assertEquals(size.length, 512 * KIB, "a small batch says nothing");
  size.recordDuration(500, 512 * KIB);
  size.recordDuration(2_000, 512 * KIB);
  assertEquals(size.length, 512 * KIB, "neither quick nor slow");
  for (let batch = 0; batch < 9; batch++) size.recordDuration(1, size.length);
  assertEquals(size.length, 4_096 * KIB);
  size.recordDuration(2_001, size.length);
  assertEquals(size.length, 2_048 * KIB);
  for (let batch = 0; batch < 9; batch++) size.recordDuration(2_001, size.length);
  assertEquals(size.length, 64 * KIB);
});

Deno.test("batch size: is the minimum after a timeout, and the minimum is not retried", () => {
  const size = new BatchSize(Infinity);
  for (let batch = 0; batch < 9; batch++) size.recordDuration(1, size.length);
  assertEquals(size.recordTimeout(64 * KIB + 1), true);
  assertEquals(size.length, 64 * KIB);
  assertEquals(size.recordTimeout(64 * KIB), false);
  const small = new BatchSize(10 * KIB); // the limit of the database has priority
  assertEquals([small.length, small.recordTimeout(10 * KIB), small.length], [10 * KIB, false, 10 * KIB]);
  small.recordDuration(1, 10 * KIB);
  small.recordDuration(5_000, 10 * KIB);
  assertEquals(small.length, 10 * KIB);
});

/** Sends messages of 8 KB at once. Asserts that each is new and is in the log once. */
async function sendAll(
  store: MysqlStore,
  a: number,
  b: number,
  count: number,
  prefix: string,
): Promise<void> {
  const body = "x".repeat(8_000);
  const cids = Array.from({ length: count }, (_, i) => `${prefix}${i}`);
  const sent = await Promise.all(cids.map((cid) => send(store, a, b, cid, { body })));
  const first = granted(sent[0]!).seq;
  assertEquals(sent, cids.map((_, i) => ({ seq: first + i, time: NOON, duplicate: false })));
}

/** Runs `body` with a store that reaches its database through a relay. */
async function withRelay(
  db: TestDatabase,
  body: (store: MysqlStore, relay: Relay) => Promise<void>,
): Promise<void> {
  await using relay = new Relay(db.server);
  const store = await openMysql(`mysql://root@${relay.host}:${relay.port}/${db.name}`);
  try {
    await body(store, relay);
  } finally {
    await store.close();
  }
}

/** Over a link that is always slow, a batch of all messages would time out. */
async function slowAlways(store: MysqlStore, relay: Relay, a: number, b: number): Promise<void> {
  relay.speed = SLOW_BYTES_PER_SECOND;
  await sendAll(store, a, b, 120, "");
  relay.speed = Infinity;
  assertEquals((await whole(store, a, b)).length, 120);
}

/** A link becomes slow while batches are large, and fast again. */
async function slowSuddenly(store: MysqlStore, relay: Relay, a: number, b: number): Promise<void> {
  await inOneBatch(store, relay, a, b, "before");
  relay.speed = SLOW_BYTES_PER_SECOND;
  const late = sendAll(store, a, b, 120, "late");
  assertEquals((await store.findUser({ id: a }))?.id, a); // meanwhile other calls read over the same link
  await late;
  relay.speed = Infinity;
  await inOneBatch(store, relay, a, b, "after");
}

/** Sends until one batch has all messages, which takes some time on a busy machine. */
async function inOneBatch(
  store: MysqlStore,
  relay: Relay,
  a: number,
  b: number,
  prefix: string,
): Promise<void> {
  for (let round = 0;; round++) {
    const before = relay.roundTrips;
    await sendAll(store, a, b, 120, `${prefix}${round}-`);
    if (relay.roundTrips - before <= 3) return; // a connection may have been replaced
    assertLess(round, 100);
  }
}

/** The transaction of a batch that timed out commits while the next attempt waits for its locks. */
async function committedLate(store: MysqlStore, relay: Relay, a: number, b: number): Promise<void> {
  await send(store, a, b, "first");
  let held = 0;
  relay.decide = (piece) => piece.includes("INSERT INTO Message") && held++ === 0 ? "hold" : "pass";
  const sent = sendAll(store, a, b, 12, ""); // more than the smallest batch
  await pause(12_000);
  relay.release();
  await sent;
  assertEquals((await whole(store, a, b)).length, 13);
}

/** A large reply may take any time as long as bytes arrive. */
async function largeAnswer(store: MysqlStore, relay: Relay, a: number, b: number): Promise<void> {
  await sendAll(store, a, b, 40, "");
  relay.speed = SLOW_BYTES_PER_SECOND / 3;
  const began = performance.now();
  assertEquals((await whole(store, a, b)).length, 40);
  assertLess(11_000, performance.now() - began, "longer than silence is waited for");
}

mariadb.test("mysql slow link: stores slow batches once, and rejects no waiting call", async (db) => {
  const cases = [slowAlways, slowSuddenly, committedLate, largeAnswer];
  const users: number[] = [];
  await withStores(1, db, async (store) => void users.push(...await makeUsers(store, 2 * cases.length)));
  await Promise.all(cases.map((one, i) =>
    withRelay(db, async (store, relay) => {
      await one(store, relay, users[2 * i]!, users[2 * i + 1]!);
    })
  ));
});
