/** A yield runs all other work that is ready, also work whose bytes have only just come. */
import { assert, assertEquals, assertLess, assertStrictEquals } from "@std/assert";
import { setImmediate } from "node:timers";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";

const MAX_ITEMS = 20; // setImmediate: 61 at the least
const ITEM_MS = 1; // of work between two yields

function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

/** How many items of work are done until an answer has come over a socket, with `rest` between two of them. */
async function itemsUntilAnswered(rest: () => Promise<unknown>): Promise<number> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using server = await listener.accept();
  let [items, isOver] = [0, false];
  const echo = async () => {
    const bytes = new Uint8Array(10);
    await server.write(bytes.subarray(0, (await server.read(bytes))!));
  };
  const ask = async () => {
    await client.write(Uint8Array.of(1));
    await client.read(new Uint8Array(10));
    isOver = true;
  };
  const answered = [echo(), ask()];
  while (!isOver) {
    work(ITEM_MS);
    items++;
    await rest();
  }
  await Promise.all(answered);
  return items;
}

Deno.test("event loop: a yield runs work that waits for a socket, not only every 61st one", async () => {
  assertLess(MAX_ITEMS, await itemsUntilAnswered(() => new Promise((resolve) => setImmediate(resolve))));
  using loop = new EventLoop();
  await loop.open();
  assertLess(await itemsUntilAnswered(() => loop.yieldToIo()), MAX_ITEMS);
  assertLess(await itemsUntilAnswered(() => loop.pollIo()), MAX_ITEMS);
});

Deno.test("event loop: a yield does so without a self-pipe", async () => {
  assertLess(await itemsUntilAnswered(() => new EventLoop().yieldToIo()), MAX_ITEMS);
});

Deno.test("event loop: callers at the same time share one yield", async () => {
  using loop = new EventLoop();
  await loop.open();
  const first = loop.yieldToIo();
  assertStrictEquals(loop.yieldToIo(), first);
  await first;
  const second = loop.yieldToIo();
  assert(second !== first);
  await second;
});

Deno.test("event loop: a poll says whether other work ran", async () => {
  using loop = new EventLoop();
  await loop.open();
  let idle = 0;
  for (let at = 0; at < 100; at++) if (await loop.pollIo()) idle++;
  assertLess(50, idle); // other processes may have had the core
  for (let at = 0; at < 10; at++) {
    setImmediate(() => work(ITEM_MS));
    assertEquals(await loop.pollIo(), false);
  }
});

Deno.test("event loop: a poll without a self-pipe never says that the loop is idle", async () => {
  assertEquals(await new EventLoop().pollIo(), false);
});

Deno.test("event loop: a pending yield resolves when the loop is closed", async () => {
  const loop = new EventLoop();
  await loop.open();
  const pending = loop.yieldToIo();
  loop[Symbol.dispose]();
  await pending;
  await loop.yieldToIo();
});

Deno.test(
  "event loop: open rejects without the permission to connect",
  { permissions: { net: false } },
  async () => {
    const loop = new EventLoop();
    const error = await loop.open().catch((error) => error);
    assert(error instanceof Deno.errors.NotCapable, `${error}`);
    assertEquals(await loop.yieldToIo(), undefined);
  },
);
