/** Locks within one process. */
import { assertEquals, assertRejects } from "@std/assert";
import { KeyedMutex } from "../../lib/keyed_mutex.ts";

function overloadError(waiters: number): Error {
  return new Error(`${waiters} requests wait`);
}

/** Lets all promise callbacks run that are due within a few turns. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await undefined;
}

Deno.test("keyed mutex: runs work of one key in order, also after a failure, and work of another key beside it", async () => {
  const mutex = new KeyedMutex<string>(overloadError);
  const events: string[] = [];
  const gate = Promise.withResolvers<void>();
  const work = (name: string, wait?: Promise<void>) => async () => {
    events.push(`${name} begins`);
    await wait;
    events.push(`${name} ends`);
    if (name === "a1") throw new Error(name);
    return name;
  };
  const results = Promise.allSettled([
    mutex.run("a", work("a1", gate.promise)),
    mutex.run("a", work("a2")),
    mutex.run("b", work("b1")),
    mutex.run("a", work("a3")),
  ]);
  await settle();
  assertEquals(events, ["a1 begins", "b1 begins", "b1 ends"]);
  gate.resolve();
  assertEquals((await results).map(({ status }) => status), [
    "rejected",
    "fulfilled",
    "fulfilled",
    "fulfilled",
  ]);
  assertEquals(events.slice(3), ["a1 ends", "a2 begins", "a2 ends", "a3 begins", "a3 ends"]);
  assertEquals(await mutex.run("a", work("a4")), "a4");
});

Deno.test("keyed mutex: grants a lock once per release, however often the holder releases it", async () => {
  const mutex = new KeyedMutex<number>(overloadError);
  const release = await mutex.acquire(1);
  const second = mutex.acquire(1);
  let isThirdGranted = false;
  const third = mutex.acquire(1).finally(() => isThirdGranted = true);
  release();
  release();
  const releaseSecond = await second;
  await settle();
  assertEquals(isThirdGranted, false);
  releaseSecond();
  (await third)();
});

Deno.test("keyed mutex: rejects a request when too many wait, and accepts one again when fewer wait", async () => {
  const mutex = new KeyedMutex<number>(overloadError, 2);
  const owner = {};
  const release = await mutex.acquire(1);
  const second = mutex.acquire(1);
  const third = assertRejects(() => mutex.acquire(1, owner), Error, "closed");
  await assertRejects(() => mutex.acquire(1), Error, "2 requests wait");
  (await mutex.acquire(2))(); // a free lock has no waiters
  mutex.rejectWaiters(owner, new Error("closed"));
  await third;
  const fourth = mutex.acquire(1);
  await assertRejects(() => mutex.acquire(1), Error, "2 requests wait");
  release();
  const fifth = mutex.acquire(1);
  await assertRejects(() => mutex.acquire(1), Error, "2 requests wait");
  (await second)();
  (await fourth)();
  (await fifth)();
  (await mutex.acquire(1))();
});

Deno.test("keyed mutex: releases the locks of an owner and rejects its waiters, but not those of another owner", async () => {
  const mutex = new KeyedMutex<number>(overloadError);
  const [a, b] = [{}, {}];
  await mutex.acquire(1, a);
  const own = assertRejects(() => mutex.acquire(1, a), Error, "closed");
  const other = mutex.acquire(1, b);
  mutex.releaseAll(a, new Error("closed"));
  await own;
  (await other)();
});
