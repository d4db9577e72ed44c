/** Cursors on their way to the store: a login waits until they are stored. */
import { assertEquals } from "@std/assert";
import { Log } from "../../lib/log.ts";
import { CursorWriter } from "../../lib/server/delivery/cursor_writer.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { type CursorUpdate, type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { wrapped } from "../harness/nodes.ts";
import { pause, until } from "../harness/wait.ts";
import { ROOMY } from "./store_fixture.ts";

const quiet = new Log("error", "text", () => {});

/** A write in progress. `end` lets it succeed, or fail with `refusal`. */
interface Write {
  readonly cursors: readonly CursorUpdate[];
  end(refusal?: Error): void;
}

/** Runs `work` with a cursor writer whose writes wait for their `end`. */
async function withHeldWrites(work: (cursors: CursorWriter, writes: readonly Write[]) => Promise<void>) {
  const real = await SqliteStore.open(IN_MEMORY, ROOMY);
  const writes: Write[] = [];
  const store = wrapped<Store>(real, (name, go, [cursors]) => {
    if (name !== "advanceCursors") return go();
    const ended = Promise.withResolvers<void>();
    writes.push({
      cursors: cursors as readonly CursorUpdate[],
      end: (refusal) => refusal ? ended.reject(refusal) : ended.resolve(),
    });
    return ended.promise.then(go);
  });
  const cursors = new CursorWriter(store, quiet);
  try {
    await work(cursors, writes);
  } finally {
    await real.close();
  }
}

/** Returns whether a promise is fulfilled within 20 ms. */
async function isDone(promise: Promise<void>): Promise<boolean> {
  let done = false;
  void promise.then(() => done = true);
  await pause(20);
  return done;
}

const users = (writes: readonly Write[]) => writes.map(({ cursors }) => cursors.map(({ user }) => user));

Deno.test("cursor writer: flushUser waits for the write in flight that has the user's cursors, and for no other", () =>
  withHeldWrites(async (cursors, writes) => {
    cursors.advance(1, 9, 1);
    const flushed = cursors.flush();
    await until(() => writes.length === 1, "the write");
    const settled = cursors.flushUser(1);
    assertEquals(await isDone(settled), false);
    assertEquals(await isDone(cursors.flushUser(2)), true, "the write has no cursor of this user");
    writes[0]!.end();
    await settled;
    await flushed;
    assertEquals(users(writes), [[1]]);
  }));

Deno.test("cursor writer: flushUser starts another write when the cursors have advanced since", () =>
  withHeldWrites(async (cursors, writes) => {
    cursors.advance(1, 9, 1);
    const flushed = cursors.flush();
    await until(() => writes.length === 1, "the first write");
    cursors.advance(1, 9, 2);
    cursors.advance(2, 9, 7);
    const settled = [1, 2].map((user) => cursors.flushUser(user));
    assertEquals(await Promise.all(settled.map(isDone)), [false, false]);
    writes[0]!.end();
    await until(() => writes.length === 2, "the second write");
    assertEquals(await Promise.all(settled.map(isDone)), [false, false]);
    assertEquals(writes[1]!.cursors, [{ user: 1, peer: 9, seq: 2 }, { user: 2, peer: 9, seq: 7 }]);
    writes[1]!.end();
    await Promise.all(settled);
    await flushed;
  }));

Deno.test("cursor writer: keeps the higher seq when a refused cursor has advanced meanwhile", () =>
  withHeldWrites(async (cursors, writes) => {
    for (const peer of [8, 9]) cursors.advance(1, peer, 5);
    const settled = cursors.flushUser(1);
    await until(() => writes.length === 1, "the first write");
    assertEquals(await isDone(settled), false);
    cursors.advance(1, 8, 6);
    cursors.advance(1, 9, 4); // lower than the seq in flight
    writes[0]!.end(new StoreUnavailableError("fails on purpose"));
    await settled; // a login does not wait for a store that refuses
    const again = cursors.flushUser(1);
    await until(() => writes.length === 2, "the second write");
    assertEquals(writes[1]!.cursors, [{ user: 1, peer: 8, seq: 6 }, { user: 1, peer: 9, seq: 5 }]);
    writes[1]!.end();
    await again;
    assertEquals(await isDone(cursors.flushUser(1)), true, "no cursor is left");
    assertEquals(writes.length, 2);
  }));

Deno.test("cursor writer: does not retry a write that is refused after the store's history has changed", () =>
  withHeldWrites(async (cursors, writes) => {
    cursors.advance(1, 9, 1);
    const flushed = cursors.flush();
    await until(() => writes.length === 1, "the write");
    cursors.clear();
    writes[0]!.end(new StoreUnavailableError("the database was restored"));
    await flushed;
    cursors.advance(2, 9, 1);
    const later = cursors.flush();
    await until(() => writes.length === 2, "the write of the new history");
    writes[1]!.end();
    await later;
    assertEquals(users(writes), [[1], [2]]);
  }));

Deno.test("cursor writer: abandons the rest of a large write when the store's history has changed", () =>
  withHeldWrites(async (cursors, writes) => {
    const batchSize = 1_000;
    for (let user = 1; user <= batchSize + 1; user++) cursors.advance(user, 9, 1);
    const flushed = cursors.flush();
    await until(() => writes.length === 1, "the first part");
    assertEquals(writes[0]!.cursors.length, batchSize);
    cursors.clear();
    writes[0]!.end();
    const end = until(() => writes.length === 2, "a second part").then(() => writes[1]!.end(), () => {});
    await flushed;
    assertEquals(writes.length, 1);
    cursors.advance(1, 9, 1); // lets the wait above end
    const later = cursors.flush();
    await Promise.all([end, later]);
    assertEquals(users(writes).slice(1), [[1]]);
  }));
