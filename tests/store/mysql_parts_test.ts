/** The parts of the MySQL store that need no server: literals, errors and group commit. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { DatabaseError, reasonOf, toDatabaseError } from "../../lib/store/mysql/errors.ts";
import { GroupCommitQueue, type Pending } from "../../lib/store/mysql/group_commit_queue.ts";
import { inList, sql, valuesList } from "../../lib/store/mysql/sql.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";

Deno.test("mysql: writes any value into a statement as a literal", () => {
  const tricky = "'; DROP TABLE User; -- \\' ${x} ?";
  assertEquals(sql`SELECT ${tricky}, ${-1}`.text, "SELECT '''; DROP TABLE User; -- \\\\'' ${x} ?', -1");
  assertEquals(sql`SELECT ${sql`1 + ${2}`}, ${Uint8Array.of(0, 255)}`.text, "SELECT 1 + 2, x'00ff'");
  assertEquals(sql`${valuesList([[1, "a"], [2, "'"]])}`.text, "(1,'a'),(2,'''')");
  assertEquals(inList("id", [1, 2]).text, "id IN (1,2)");
  assertEquals(inList("(low, high)", [[1, 2]]).text, "(low, high) IN ((1,2))");
  assertEquals(inList("id", []).text, "FALSE");
  for (const number of [NaN, Infinity, 1.5, 2 ** 53]) assertThrows(() => sql`SELECT ${number}`, RangeError);
});

Deno.test("mysql: an error contains no statement and no value", () => {
  const error = (errno: number, message: string) =>
    toDatabaseError(
      Object.assign(new Error(message), {
        errno,
        code: "ER",
        sqlState: "x",
        sqlMessage: message,
        sql: message,
      }),
    );
  for (
    const [errno, kind] of [[1062, "duplicate"], [1213, "conflict"], [1064, "invalid"], [
      1406,
      "invalid",
    ]] as const
  ) {
    const wrapped = error(errno, "near 'my secret diary'");
    assertEquals([wrapped.kind, wrapped instanceof StoreUnavailableError], [kind, true]);
    assert(!Deno.inspect(wrapped).includes("diary"), Deno.inspect(wrapped));
    assert(reasonOf(wrapped).includes(`${errno}`));
  }
  const full = error(1040, "Too many\nconnections");
  assertEquals([full.kind, reasonOf(full)], [
    "unavailable",
    "the database failed: ER (1040): Too many connections",
  ]);
  const cause = Object.assign(new Error("connect ECONNREFUSED"), { errno: -111, code: "ECONNREFUSED" });
  assertEquals([toDatabaseError(cause).kind, toDatabaseError(cause).cause], ["connection_lost", cause]);
});

/** A queue of numbers whose batches wait for `next`, one by one. */
function makeQueue(): {
  queue: GroupCommitQueue<number, number>;
  batches: Pending<number, number>[][];
  next: () => void;
} {
  const batches: Pending<number, number>[][] = [];
  const gates: (() => void)[] = [];
  const queue = new GroupCommitQueue<number, number>({
    sizeOf: (call) => call,
    startBatch() {
      let count = 0;
      return () => ++count <= 3;
    },
    async run(batch) {
      batches.push([...batch]);
      await new Promise<void>((resolve) => gates.push(resolve));
      if (batch.some(({ call }) => call === 13)) throw new DatabaseError("invalid", "13");
      for (const [call, kind] of [[14, "connection_lost"], [15, "unavailable"], [16, "timeout"]] as const) {
        if (batch.some((pending) => pending.call === call)) throw new DatabaseError(kind, `${call}`);
      }
      for (const { call, resolve } of batch) resolve(call * 2);
    },
  });
  return { queue, batches, next: () => gates.shift()!() };
}

/** Lets all promise callbacks run that are due within a few turns. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await undefined;
}

Deno.test("group commit: puts calls during a batch into the next one, in order", async () => {
  const { queue, batches, next } = makeQueue();
  const results = [1, 2].map((call) => queue.add(call));
  await settle();
  results.push(...[3, 4, 5, 6].map((call) => queue.add(call)));
  await settle();
  for (let batch = 0; batch < 3; batch++) {
    next();
    await settle();
  }
  assertEquals(batches.map((batch) => batch.map(({ call }) => call)), [[1, 2], [3, 4, 5], [6]]);
  assertEquals(await Promise.all(results), [2, 4, 6, 8, 10, 12]);
});

Deno.test("group commit: runs a barrier after all earlier calls and before all later ones", async () => {
  const { queue, batches, next } = makeQueue();
  let seen = "";
  const done = [
    queue.add(1),
    queue.barrier(() => Promise.resolve(seen = `after ${batches.length}`)),
    queue.barrier(() => Promise.reject(new Error("alone"))).catch(() => {}),
    queue.add(2),
  ];
  await settle();
  assertEquals([batches.length, seen], [1, ""]);
  next();
  await settle();
  assertEquals([batches.length, seen], [2, "after 1"]);
  next();
  await Promise.all(done);
});

Deno.test("group commit: rejects waiting calls when the database is unavailable", async () => {
  const { queue, batches, next } = makeQueue();
  const bad = [13, 1].map((call) => assertRejects(() => queue.add(call), StoreUnavailableError, "13"));
  await settle();
  const waiting = queue.add(2);
  next();
  await settle();
  next();
  assertEquals(await waiting, 4);
  await Promise.all(bad);
  for (const away of [14, 15, 16]) {
    const lost = [assertRejects(() => queue.add(away), StoreUnavailableError, `${away}`)];
    await settle();
    for (let call = 0; call < 10; call++) {
      lost.push(assertRejects(() => queue.add(call), StoreUnavailableError, `${away}`));
    }
    next();
    await Promise.all(lost);
  }
  assertEquals(batches.length, 5);
  const again = queue.add(5);
  await settle();
  next();
  assertEquals(await again, 10);
});

Deno.test("group commit: bounds the bytes of waiting calls, and accepts calls again afterwards", async () => {
  const { queue, next } = makeQueue();
  const megabytes = 1_024 * 1_024;
  const first = queue.add(1);
  await settle();
  const large = queue.add(60 * megabytes);
  await assertRejects(() => queue.add(5 * megabytes), StoreUnavailableError);
  const small = queue.add(1 * megabytes);
  next();
  await settle();
  const more = queue.add(60 * megabytes);
  await settle();
  next();
  await settle();
  next();
  assertEquals((await Promise.all([first, large, small, more])).length, 4);
});

Deno.test("group commit: bounds the number of waiting calls, and accepts calls again afterwards", async () => {
  const { queue, next } = makeQueue();
  const lost = queue.add(14);
  await settle();
  const waiting = Array.from({ length: 100_000 }, () => queue.add(1));
  for (const call of [() => queue.add(1), () => queue.barrier(() => Promise.resolve())]) {
    await assertRejects(call, StoreUnavailableError, "100000 calls are waiting");
  }
  next();
  const results = await Promise.allSettled([lost, ...waiting]);
  assertEquals(results.filter(({ status }) => status === "rejected").length, 100_001);
  const again = queue.add(5);
  await settle();
  next();
  assertEquals(await again, 10);
});
