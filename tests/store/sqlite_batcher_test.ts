/** Tests of the embedded store's batches: their size, the queue's limits, and failures. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { Batcher } from "../../lib/store/sqlite/batcher.ts";
import { CallQueue, type PendingCall } from "../../lib/store/sqlite/queue.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { NOON } from "./store_fixture.ts";

/** Runs `body` with a batcher. Its worker posts the result of `answer`, a function body with `calls`. */
async function withWorker(answer: string, body: (batcher: Batcher) => Promise<void>): Promise<void> {
  const { href } = new URL("../../lib/store/sqlite/calls.ts", import.meta.url);
  const source = `import { unpack } from ${JSON.stringify(href)};
    onmessage = ({ data: { changes = [], reads = [] } }) => postMessage(answer(unpack([...changes, ...reads])));
    let batch = 0;
    function answer(calls) { batch++; ${answer} }`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(source)}`, { type: "module" });
  const batcher = new Batcher(worker);
  try {
    await body(batcher);
    await batcher.close();
  } finally {
    worker.terminate();
  }
}

const MIB = 1_024 * 1_024;

/** Makes a call whose size counts as `bytes`: 256 and the length of its texts. */
function sized(batcher: Batcher, bytes: number): Promise<unknown> {
  return batcher.call("append", 1, 2, "1234", "x".repeat(bytes - 260), NOON);
}

const WHICH_BATCH = "return { results: calls.map(() => batch), failures: new Map() };";

Deno.test("sqlite batcher: limits a batch to 4 MiB of messages, but sends at least one", () =>
  withWorker(WHICH_BATCH, async (batcher) => {
    const sizes = [1, 1, 1, 1, /* full */ 2, 2, /* full */ 3, 2, 9, 1];
    const batches = await Promise.all(sizes.map((size) => sized(batcher, size * MIB)));
    assertEquals(batches, [1, 1, 1, 1, 2, 2, 3, 4, 5, 6]);
    const pair = (bytes: number): Promise<unknown[]> =>
      Promise.all([sized(batcher, bytes), batcher.call("claimAccount", 1)]);
    assertEquals(await pair(4 * MIB - 255), [7, 8], "one byte above the limit");
    assertEquals(await pair(4 * MIB - 256), [9, 9]);
  }));

Deno.test("sqlite batcher: rejects calls when 64 MiB wait, until some are done", () =>
  withWorker(WHICH_BATCH, async (batcher) => {
    for (const _round of [1, 2]) {
      const calls = Array.from({ length: 63 }, () => sized(batcher, MIB));
      calls.push(sized(batcher, MIB - 256), batcher.call("claimAccount", 1));
      const refused = [batcher.call("claimAccount", 2), sized(batcher, MIB)];
      const read = batcher.call("findUser", { id: 1 }); // reads have a separate queue
      for (const call of refused) await assertRejects(() => call, StoreUnavailableError, "waiting");
      await Promise.all([...calls, read]);
    }
  }));

Deno.test("sqlite queue: rejects calls when 100,000 wait (I7)", () => {
  const queue = new CallQueue(1);
  const pending = { call: ["claimAccount", 1], resolve() {}, reject() {} } satisfies PendingCall;
  for (let waiting = 0; waiting < 100_000; waiting++) queue.add(pending);
  assertThrows(() => queue.add(pending), StoreUnavailableError, "100000 calls are waiting");
  queue.take();
  queue.add(pending);
});

Deno.test("sqlite batcher: runs reads beyond the budget first in the next batch, after its changes", () =>
  withWorker(
    `const changes = calls.filter(([name]) => name === "claimAccount").length;
     return { results: calls.slice(0, changes + 2).map(([, user]) => [batch, user]), failures: new Map() };`,
    async (batcher) => {
      const read = (user: number): Promise<unknown> => batcher.call("findSession", user);
      const early = [1, 2, 3, 4].map(read);
      for (let turns = 0; turns < 3; turns++) await undefined; // the reads are sent, and have no reply yet
      const change: Promise<unknown> = batcher.call("claimAccount", 9);
      const late = [5, 6].map(read);
      const results = await Promise.all([...early, change, ...late]);
      assertEquals(results, [[1, 1], [1, 2], [2, 3], [2, 4], [2, 9], [3, 5], [3, 6]]);
    },
  ));

Deno.test("sqlite batcher: rejects all calls of a batch that fails as a whole", async () => {
  const module = new URL("../../lib/store/sqlite/worker.ts", import.meta.url);
  const worker = new Worker(module, { type: "module" }); // without an open database, all batches fail
  const batcher = new Batcher(worker);
  const calls = [
    batcher.call("saveSession", { user: 1, loginEpoch: 1 }, new Uint8Array(32), NOON),
    batcher.call("claimAccount", 1),
    batcher.call("advanceCursors", [1, 2, 1]),
    batcher.call("findUser", { id: 1 }),
  ];
  for (const result of await Promise.allSettled(calls)) {
    assert(result.status === "rejected" && result.reason instanceof StoreUnavailableError);
    assert(result.reason.cause instanceof Error);
  }
  await batcher.close();
  worker.terminate();
});

Deno.test("sqlite batcher: rejects all calls and reports the error when the database thread dies", async () => {
  const dies = `data:text/javascript,onmessage = () => { throw new Error("out of luck"); };`;
  const worker = new Worker(dies, { type: "module" });
  const batcher = new Batcher(worker);
  const calls = [batcher.call("claimAccount", 1), batcher.call("findUser", { id: 1 })];
  for (const result of await Promise.allSettled(calls)) {
    assert(result.status === "rejected" && result.reason instanceof StoreUnavailableError);
    assertStringIncludes(result.reason.message, "out of luck");
  }
  assertStringIncludes((await batcher.failed).message, "out of luck");
  await assertRejects(() => batcher.call("findUser", { id: 1 }), StoreUnavailableError, "out of luck");
  await batcher.close();
  worker.terminate();
});
