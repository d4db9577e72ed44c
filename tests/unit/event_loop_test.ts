/** In a break all work runs, that too whose bytes have only just come. */
import { assert, assertEquals, assertLess, assertStrictEquals } from "@std/assert";
import { setImmediate } from "node:timers";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";

const TURNS = 20; // setImmediate: 61 at the least
const PIECE = 1; // ms of work between two breaks

/** How many pieces of work are done until an answer has come over a socket, with `rest` between two of them. */
async function piecesUntilAnswered(rest: () => Promise<unknown>): Promise<number> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using server = await listener.accept();
  let [pieces, isOver] = [0, false];
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
    for (const end = performance.now() + PIECE; performance.now() < end;);
    pieces++;
    await rest();
  }
  await Promise.all(answered);
  return pieces;
}

Deno.test("breaks: who waits for a socket has a turn in each, not only every 61st", async () => {
  assertLess(TURNS, await piecesUntilAnswered(() => new Promise((resolve) => setImmediate(resolve))));
  using breaks = new EventLoop();
  await breaks.open();
  assertLess(await piecesUntilAnswered(() => breaks.yieldToIo()), TURNS);
});

Deno.test("breaks: so it is without a connection to itself", async () => {
  assertLess(await piecesUntilAnswered(() => new EventLoop().yieldToIo()), TURNS);
});

Deno.test("breaks: one for all who ask meanwhile, and then the next", async () => {
  using breaks = new EventLoop();
  await breaks.open();
  const first = breaks.yieldToIo();
  assertStrictEquals(breaks.yieldToIo(), first);
  await first;
  const second = breaks.yieldToIo();
  assert(second !== first);
  await second;
});

Deno.test("breaks: no caller waits for ever when it is closed", async () => {
  const breaks = new EventLoop();
  await breaks.open();
  const waiting = breaks.yieldToIo();
  breaks[Symbol.dispose]();
  await waiting;
  await breaks.yieldToIo();
});

Deno.test("breaks: who may not connect is told so", { permissions: { net: false } }, async () => {
  const breaks = new EventLoop();
  const error = await breaks.open().catch((error) => error);
  assert(error instanceof Deno.errors.NotCapable, `${error}`);
  assertEquals(await breaks.yieldToIo(), undefined);
});
