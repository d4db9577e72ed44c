/** Connections over real sockets, with requests that the test answers by hand. */
import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { classicDialect } from "../../lib/server/protocol/classic_dialect.ts";
import { Connection } from "../../lib/server/net/connection.ts";
import type {
  Admission,
  ConnectionContext,
  Handler,
  Request,
} from "../../lib/server/net/connection_context.ts";
import { BULK } from "../../lib/server/scheduling/classes.ts";
import { EventLoop } from "../../lib/server/scheduling/event_loop.ts";
import { WorkQueue } from "../../lib/server/scheduling/work_queue.ts";
import { framedDialect, type ServerMessage } from "../../lib/server/protocol/dialect.ts";
import { acquireBuffer } from "../../lib/wire/buffers.ts";
import { WireError } from "../../lib/wire/decoder.ts";
import { frame, FrameReader, joined } from "../harness/frames.ts";
import { pause, until, within } from "../harness/wait.ts";

const MAX_IN_FLIGHT = 3;
const MAX_FRAME = 524_288;
const WRITE_BUFFER = 4_096;

/** Holds requests until the test answers them. A body `x` is a request that is not concurrent. */
class HoldingHandler implements Handler {
  readonly bodies: string[] = []; // that were parsed
  readonly started: string[] = [];
  readonly #answers: ((reply: ServerMessage) => void)[] = [];
  admission: Admission = { isBulk: false, pauseMs: 0 };
  readPauseMs = 0;
  leaves = 0;
  ends = 0;
  isAuthenticated = true;

  onRead(): number {
    return this.readPauseMs;
  }

  onReply(): void {}

  prepare(body: Uint8Array | WireError): Request {
    const text = body instanceof WireError ? body.message : new TextDecoder().decode(body);
    this.bodies.push(text);
    return {
      concurrent: text !== "x",
      admit: () => this.admission,
      run: () => {
        this.started.push(text);
        return new Promise((resolve) => this.#answers.push(resolve));
      },
    };
  }

  /** Answers the oldest request that was started and has no answer. */
  answer(msgid = 1): void {
    this.#answers.shift()!({ msgid });
  }

  onDrain(): void {}

  onLeave(): void {
    this.leaves++;
  }

  onEnd(): void {
    this.ends++;
  }
}

/** Lets its callers wait, once the test says so. */
class HoldingQueue {
  isHeld = false;
  readonly waiting: (() => void)[] = [];

  next(): Promise<void> {
    return this.isHeld ? new Promise((resolve) => this.waiting.push(resolve)) : Promise.resolve();
  }
}

interface Line {
  readonly handshakeQueue: HoldingQueue;
  readonly bulkQueue: WorkQueue;
  readonly server: Connection;
  readonly handler: HoldingHandler;
  readonly client: Deno.TcpConn;
  readonly ran: Promise<void>;
}

function contextOf(
  bulkQueue: WorkQueue,
  handshakeQueue: HoldingQueue,
  eventLoop = new EventLoop(),
): ConnectionContext {
  return {
    eventLoop,
    dialect: (classic: boolean) => classic ? classicDialect(1_023, 0) : framedDialect,
    maxFrameBytes: MAX_FRAME,
    maxInFlight: MAX_IN_FLIGHT,
    writeBufferBytes: WRITE_BUFFER,
    bulkQueue,
    handshakeQueue,
    closeTimeoutMs: 5_000,
  };
}

async function withConnection(work: (line: Line) => Promise<void>): Promise<void> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [socket, client] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
  ]);
  const handler = new HoldingHandler();
  const handshakeQueue = new HoldingQueue();
  const eventLoop = new EventLoop();
  const bulkQueue = new WorkQueue(eventLoop, BULK);
  const server = new Connection(socket, contextOf(bulkQueue, handshakeQueue, eventLoop), () => handler);
  const ran = server.run();
  try {
    await work({ handshakeQueue, bulkQueue, server, handler, client, ran });
  } finally {
    server.abort();
    try {
      client.close();
    } catch {
      // the test had closed it
    }
    await ran;
  }
}

/**
 * Returns a connection whose reads have each of the chunks at once. After an end by the server it reads
 * `discarded` large ones, and then the client's end.
 */
function scripted(chunks: readonly Uint8Array[], discarded: number) {
  const reads = { discarded: 0 };
  const eventLoop = {
    yields: 0,
    yieldToIo(): Promise<void> {
      this.yields++;
      return Promise.resolve();
    },
  };
  const left = [...chunks];
  const read = async (into: Uint8Array) => {
    const chunk = left.shift();
    if (chunk) into.set(chunk);
    else if (discarded > 0) { do await pause(0); while (connection.isOpen); }
    if (chunk) return chunk.length;
    return reads.discarded++ < discarded ? into.length : null;
  };
  const socket = {
    read,
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    closeWrite: () => Promise.resolve(),
    close: () => {},
  };
  const handler = new HoldingHandler();
  const context = contextOf(new WorkQueue(new EventLoop(), BULK), new HoldingQueue());
  const connection: Connection = new Connection(socket, { ...context, eventLoop }, () => handler);
  return { connection, handler, reads, eventLoop };
}

function work(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

/** Reads the msgids that come, until the end or `count` of them. */
async function msgids(client: Deno.Conn, count = Infinity): Promise<number[]> {
  const [reader, buffer, got] = [new FrameReader(), new Uint8Array(65_536), [] as number[]];
  while (got.length < count) {
    const read = await within(client.read(buffer), "bytes");
    if (read === null) break;
    got.push(...reader.push(buffer.slice(0, read)).map((body) => JSON.parse(body).msgid as number));
  }
  return got;
}

Deno.test("connection: notices the client's end while a request is in flight", () =>
  withConnection(async ({ handler, client, ran }) => {
    await client.write(frame("x"));
    await until(() => handler.started.length === 1, "the request");
    client.close();
    await until(() => handler.leaves === 1, "the end to be noticed");
    await pause(20);
    assertEquals(handler.ends, 0, "a request that is not concurrent is finished first");
    handler.answer();
    await ran;
    assertEquals([handler.leaves, handler.ends], [1, 1]);
  }));

Deno.test("connection: ends without a wait for concurrent requests in flight", () =>
  withConnection(async ({ handler, client }) => {
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the request");
    await client.closeWrite();
    await until(() => handler.ends === 1, "the end");
    assertEquals(handler.leaves, 1);
    handler.answer(7);
    assertEquals(await msgids(client), [7]);
  }));

Deno.test("connection: bytes that come while a request is in flight start the next one afterwards, and are whole", () =>
  withConnection(async ({ handler, client }) => {
    await client.write(frame("x"));
    await until(() => handler.started.length === 1, "the request");
    const long = "y".repeat(10_000); // more than one read
    await client.write(frame(long));
    await pause(50);
    assertEquals(handler.started, ["x"]);
    handler.answer(7);
    await until(() => handler.started.length === 2, "the next request");
    assertEquals(handler.started, ["x", long]);
    handler.answer(8);
    assertEquals(await msgids(client, 2), [7, 8]);
  }));

Deno.test("connection: a client that only ends its sending during a request still gets the reply", () =>
  withConnection(async ({ handler, client }) => {
    await client.write(frame("x"));
    await until(() => handler.started.length === 1, "the request");
    await client.closeWrite();
    await until(() => handler.leaves === 1, "the end to be noticed");
    handler.answer(7);
    assertEquals(await msgids(client), [7]);
  }));

Deno.test("connection: unauthenticated clients wait for the handshake class with their bytes, and all with their end", () =>
  withConnection(async ({ handshakeQueue, handler, client, ran }) => {
    handshakeQueue.isHeld = true;
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the request of a user, at once");
    handler.answer();
    handler.isAuthenticated = false;
    await client.write(frame("2"));
    await until(() => handshakeQueue.waiting.length === 1, "the bytes to wait");
    await pause(20);
    assertEquals(handler.bodies, ["1"]);
    handshakeQueue.waiting.shift()!();
    await until(() => handler.started.length === 2, "the request of the unauthenticated client");
    handler.answer();
    handler.isAuthenticated = true;
    assertEquals(await msgids(client, 2), [1, 1]);
    client.close();
    await until(() => handshakeQueue.waiting.length === 1, "the end to wait");
    await pause(20);
    assertEquals(handler.ends, 0);
    handshakeQueue.waiting.shift()!();
    await ran;
    assertEquals(handler.ends, 1);
  }));

Deno.test("connection: a bulk request waits for its class, and is tracked in it", () =>
  withConnection(async ({ bulkQueue, handler, client }) => {
    const blocker = Promise.withResolvers<void>();
    void bulkQueue.track(blocker.promise, BULK.concurrency);
    handler.admission = { isBulk: true, pauseMs: 0 };
    await client.write(joined(frame("1"), frame("2"), frame("3")));
    await until(() => handler.bodies.length === 1, "the first body");
    await pause(50);
    assertEquals(handler.started, []);
    blocker.resolve();
    await until(() => handler.started.length === BULK.concurrency, "as many as may be in progress");
    await pause(50);
    assertEquals([handler.started, bulkQueue.canStart], [["1", "2"], false]);
    handler.answer();
    await until(() => handler.started.length === 3, "the third");
    handler.answer();
    handler.answer();
  }));

Deno.test("connection: an untracked bulk request waits for its class, and blocks no other", () =>
  withConnection(async ({ bulkQueue, handler, client }) => {
    const blocker = Promise.withResolvers<void>();
    void bulkQueue.track(blocker.promise, BULK.whileIdle!.concurrency);
    handler.admission = { isBulk: true, isTracked: false, pauseMs: 0 };
    await client.write(joined(frame("1"), frame("2"), frame("3")));
    await until(() => handler.bodies.length === 1, "the first body");
    await pause(50);
    assertEquals(handler.started, []);
    blocker.resolve();
    await until(() => handler.started.length === 3, "all of them");
    assert(bulkQueue.canStart);
    for (let at = 0; at < 3; at++) handler.answer();
  }));

Deno.test("connection: only an interactive request that waits counts as other work for the bulk class", () =>
  withConnection(async ({ bulkQueue, handler, client }) => {
    let noted = 0;
    bulkQueue.noteOtherWork = () => noted++;
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the interactive request");
    assertEquals(noted, 1);
    handler.admission = { isBulk: true, pauseMs: 0 };
    await client.write(frame("2"));
    await until(() => handler.started.length === 2, "the bulk request");
    assertEquals(noted, 1);
    handler.admission = { isBulk: false, pauseMs: 0 };
    const prepare = handler.prepare.bind(handler);
    handler.prepare = (body) => ({ ...prepare(body), run: () => ({ msgid: 9 }) });
    await client.write(frame("3"));
    handler.answer();
    handler.answer();
    assertEquals(await msgids(client, 3), [1, 1, 9]);
    assertEquals(noted, 1, "a reply without a wait");
  }));

Deno.test("connection: charges the bulk class for the parsing and the start of its requests only", () =>
  withConnection(async ({ bulkQueue, handler, client }) => {
    const charges: number[] = [];
    bulkQueue.charge = (ms) => charges.push(ms);
    const prepare = handler.prepare.bind(handler);
    handler.prepare = (body) => {
      work(3);
      const request = prepare(body);
      const run = () => {
        work(4);
        return request.run();
      };
      return { ...request, run };
    };
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the interactive request");
    assertEquals(charges, []);
    handler.admission = { isBulk: true, pauseMs: 0 };
    await client.write(frame("2"));
    await until(() => handler.started.length === 2, "the bulk request");
    assertEquals(charges.length, 1);
    assertGreaterOrEqual(charges[0]!, 7);
    await client.write(frame("x"));
    await until(() => handler.bodies.length === 3, "the one that has to wait to be read");
    await pause(20);
    handler.answer();
    handler.answer();
    await until(() => handler.started.length === 3, "it to start");
    assertEquals(charges.length, 2);
    assertGreaterOrEqual(charges[1]!, 7, "its parsing before the wait counts, too");
    assertLess(charges[1]!, 20, "and the wait does not");
    handler.answer();
  }));

Deno.test("connection: after the pause of a verdict the next request starts, and is not read before", () =>
  withConnection(async ({ server, handler, client }) => {
    handler.admission = { isBulk: false, pauseMs: 200 };
    const startedAt = performance.now();
    await client.write(joined(frame("1"), frame("2")));
    await until(() => handler.started.length === 1, "the first request, at once");
    assertLess(performance.now() - startedAt, 150);
    assertEquals([handler.bodies, server.isPaused], [["1"], true]);
    handler.admission = { isBulk: false, pauseMs: 0 };
    await until(() => handler.started.length === 2, "the second one");
    assertGreaterOrEqual(performance.now() - startedAt, 195);
    await until(() => !server.isPaused, "the pause to be over");
    assertGreaterOrEqual(server.lastReadAt, startedAt + 195, "silence during the pause is no sign");
    handler.answer();
    handler.answer();
  }));

Deno.test("connection: bytes without a body pause the next read", () =>
  withConnection(async ({ server, handler, client }) => {
    handler.readPauseMs = 100;
    const startedAt = performance.now();
    await client.write(new TextEncoder().encode("{}   ")); // classic
    await until(() => server.isPaused, "the pause");
    await client.write(new TextEncoder().encode('{"a":1}'));
    await until(() => handler.started.includes('{"a":1}'), "the request");
    assertGreaterOrEqual(performance.now() - startedAt, 195);
    while (server.inFlight > 0) {
      handler.answer();
      await pause(0);
    }
  }));

Deno.test("connection: an end during a pause does not wait for it", () =>
  withConnection(async ({ server, handler, client, ran }) => {
    handler.admission = { isBulk: false, pauseMs: 1_900 };
    const startedAt = performance.now();
    await client.write(joined(frame("1"), frame("2")));
    await until(() => server.isPaused, "the pause");
    handler.answer();
    const ended = server.end();
    client.close();
    await ended;
    await within(ran, "the connection to end");
    assertLess(performance.now() - startedAt, 800, "nor for the end of the lingering");
    assertEquals(handler.started, ["1"]);
  }));

Deno.test("connection: an end by a bad frame does not wait for the pause of its verdict", () =>
  withConnection(async ({ handler, client, ran }) => {
    handler.admission = { isBulk: false, pauseMs: 1_900 };
    const startedAt = performance.now();
    await client.write(frame("", MAX_FRAME + 1));
    await until(() => handler.started.length === 1, "the bad frame");
    handler.answer(7);
    assertEquals(await msgids(client), [7]);
    client.close();
    await within(ran, "the connection to end");
    assertLess(performance.now() - startedAt, 800);
  }));

Deno.test("connection: after its end starts no request that waited, and still sends the replies in flight", () =>
  withConnection(async ({ server, handler, client, ran }) => {
    await client.write(joined(frame("1"), frame("x")));
    await until(() => handler.bodies.length === 2, "the one that has to wait to be read");
    const ended = server.end({ msgid: 27 });
    handler.answer(7);
    await ended;
    assertEquals(await msgids(client), [7, 27]);
    client.close();
    await within(ran, "the connection to end");
    assertEquals(handler.started, ["1"]);
  }));

Deno.test("connection: bytes that come after its end wait for the handshake class", () =>
  withConnection(async ({ server, handshakeQueue, handler, client, ran }) => {
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the request");
    const ended = server.end();
    await client.write(frame("2")); // ends the read that was in progress
    handshakeQueue.isHeld = true;
    await client.write(frame("3"));
    await until(() => handshakeQueue.waiting.length === 1, "the bytes to wait", 2_000);
    handshakeQueue.isHeld = false;
    handshakeQueue.waiting.shift()!();
    handler.answer();
    await ended;
    client.close();
    await within(ran, "the connection to end");
    assertEquals(handler.bodies, ["1"]);
  }));

Deno.test("connection: discards 256 KiB after its end, and closes a client that sends more", async () => {
  const { connection, handler, reads } = scripted([frame("1")], 20);
  const ran = connection.run();
  await until(() => handler.started.length === 1, "the request");
  void connection.end();
  handler.answer();
  await within(ran, "the connection to end");
  assertEquals(reads.discarded, 5, "4 reads of 64 KiB, and the one that is too much");
});

Deno.test("connection: yields to other connections when each read of a client is short, too", async () => {
  const count = 40;
  const { connection, handler, eventLoop } = scripted(Array.from({ length: count }, () => frame("1")), 0);
  const prepare = handler.prepare.bind(handler);
  handler.prepare = (body) => {
    work(0.5);
    return { ...prepare(body), run: () => undefined };
  };
  await within(connection.run(), "the connection to end");
  assertEquals(handler.bodies.length, count);
  assertGreaterOrEqual(eventLoop.yields, 4, "for 20 ms of work in slices of 2 ms");
});

Deno.test("connection: releases the memory of an incomplete frame at its end", () =>
  withConnection(async ({ server, client, ran }) => {
    const part = new Uint8Array(100_000).fill(121);
    const startedAt = server.lastReadAt;
    await client.write(joined(frame("", 200_000), part));
    await until(() => server.lastReadAt > startedAt, "the bytes");
    client.close();
    await within(ran, "the connection to end");
    assertEquals(acquireBuffer(131_072)[50_000], 121, "the buffer is in the pool");
  }));

Deno.test("connection: starts no request beyond the maximum in flight (I7)", () =>
  withConnection(async ({ server, handler, client }) => {
    await client.write(joined(...["1", "2", "3", "4", "5"].map((body) => frame(body))));
    await until(() => handler.bodies.length === 4, "the one that has to wait to be read");
    assertEquals(handler.started, ["1", "2", "3"]);
    handler.answer();
    await until(() => handler.started.length === 4, "the fourth to begin");
    assertEquals(server.inFlight, MAX_IN_FLIGHT);
    for (let i = 0; i < 3; i++) handler.answer();
    await until(() => handler.started.length === 5, "the fifth to begin");
    handler.answer();
    assertEquals((await msgids(client, 5)).length, 5);
  }));

Deno.test("connection: a request that is not concurrent waits for those before it, and those after it wait", () =>
  withConnection(async ({ handler, client }) => {
    await client.write(joined(...["1", "x", "2"].map((body) => frame(body))));
    await until(() => handler.bodies.length === 2, "the one that has to wait to be read");
    assertEquals(handler.started, ["1"]);
    handler.answer(11);
    await until(() => handler.started.length === 2, "the one that is not concurrent to start");
    await pause(20);
    assertEquals(handler.started, ["1", "x"]);
    handler.answer(12);
    await until(() => handler.started.length === 3, "the last one to begin");
    handler.answer(13);
    assertEquals(await msgids(client, 3), [11, 12, 13]);
  }));

Deno.test("connection: counts the bytes of the requests in flight, too (I7)", () =>
  withConnection(async ({ handler, client }) => {
    const large = frame("x".repeat(262_145)); // one byte more than may be under way when the next one comes
    await client.write(joined(large, frame("2")));
    await until(() => handler.bodies.length === 2, "the one that has to wait to be read");
    assertEquals(handler.started.length, 1);
    handler.answer();
    await until(() => handler.started.length === 2, "the second to begin");
    handler.answer();
    const fitting = frame("x".repeat(262_144));
    await client.write(joined(fitting, frame("4")));
    await until(() => handler.started.length === 4, "both to begin");
    handler.answer();
    handler.answer();
  }));

Deno.test("connection: yields to other connections when a client floods", () =>
  withConnection(async ({ handler, client }) => {
    const flood = joined(...Array.from({ length: 10_000 }, () => frame("!")));
    let turns = 0;
    const timer = setInterval(() => turns++, 0);
    const read = handler.prepare.bind(handler);
    handler.prepare = (body) => {
      for (const end = performance.now() + 0.02; performance.now() < end;); // as if it were some work
      return { ...read(body), run: () => undefined };
    };
    await client.write(flood);
    await until(() => handler.bodies.length === 10_000, "all to be read");
    clearInterval(timer);
    assert(turns > 20, `${turns} turns for others during 200 ms of work`);
  }));

Deno.test("connection: starts no request while the client does not read (I7)", () =>
  withConnection(async ({ server, handler, client }) => {
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the first request");
    const big = new Uint8Array(8_388_608); // more than the kernel's buffers take
    server.sendBytes(frame(big));
    handler.answer();
    await client.write(frame("2"));
    await until(() => handler.bodies.length === 2, "the one that has to wait to be read");
    assertEquals([handler.started, server.isWritable], [["1"], false]);
    for (let left = big.length + 4; left > 0;) {
      left -= (await client.read(new Uint8Array(Math.min(left, 65_536))))!;
    }
    await until(() => handler.started.length === 2, "the second request");
    assert(server.isWritable);
    handler.answer();
  }));

Deno.test("connection: a client that only shuts down its sending still gets its replies", () =>
  withConnection(async ({ handler, client, ran }) => {
    await client.write(joined(frame("1"), frame("2")));
    await client.closeWrite();
    await until(() => handler.ends === 1, "the end to be seen");
    await pause(1_500); // longer than a second, which is all that last words get
    handler.answer(7);
    handler.answer(8);
    assertEquals(await msgids(client), [7, 8]);
    await within(ran, "the connection to end");
    assertEquals(handler.ends, 1);
  }));

Deno.test("connection: replies to a frame that is too large after the requests before it, and closes", () =>
  withConnection(async ({ handler, client, ran }) => {
    await client.write(joined(frame("1"), frame("", MAX_FRAME + 1), new Uint8Array(100_000)));
    await until(() => handler.bodies.length === 2, "both to be read");
    handler.answer(7);
    handler.answer(8);
    assertEquals(await msgids(client), [7, 8]); // no reset, though the client's bytes were never read
    client.close();
    await within(ran, "the connection to end");
  }));

Deno.test("connection: sends the last message after all replies, and closes a client that does not close", () =>
  withConnection(async ({ server, handler, client, ran }) => {
    await client.write(joined(frame("1")));
    await until(() => handler.started.length === 1, "the request");
    const ended = server.end({ msgid: 27 });
    await client.write(joined(frame("2"))); // comes too late
    handler.answer(7);
    await ended;
    assertEquals(await msgids(client), [7, 27]);
    await within(ran, "the connection to be closed");
    assertEquals(handler.bodies, ["1"]);
  }));

Deno.test("connection: gives up replies that do not come, or are not read, in time", () =>
  withConnection(async ({ server, handler, client, ran }) => {
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the request");
    const ended = server.end(undefined, 50);
    await within(ended, "the end to give up");
    await within(ran, "the connection to be closed");
    handler.answer();
  }));

Deno.test("connection: an abort does not wait for replies", () =>
  withConnection(async ({ server, handler, client, ran }) => {
    await client.write(joined(frame("1"), frame("x")));
    await until(() => handler.bodies.length === 2, "the one that has to wait to be read");
    server.abort();
    await within(ran, "the connection to end");
    handler.answer();
  }));

Deno.test("connection: detects the dialect from the first byte, even if bytes come one by one", () =>
  withConnection(async ({ server, handler, client }) => {
    for (const byte of new TextEncoder().encode('{"a":1}')) await client.write(new Uint8Array([byte]));
    await until(() => handler.started.length === 1, "the request");
    assertEquals([server.dialect?.name, handler.started], ["classic", ['{"a":1}']]);
    handler.answer();
  }));
