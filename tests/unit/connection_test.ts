/** Connections take requests in order, within their limits, and in the class of their verdict. */
import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { BULK } from "../../lib/server/scheduling/classes.ts";
import { frame, joined } from "../harness/frames.ts";
import { pause, until, within } from "../harness/wait.ts";
import { MAX_IN_FLIGHT, msgids, scripted, withConnection, work } from "./connection_fixture.ts";

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

Deno.test("connection: a bulk request waits for its class, and counts there with its weight", () =>
  withConnection(async ({ bulkQueue, handler, client }) => {
    const blocker = Promise.withResolvers<void>();
    void bulkQueue.track(blocker.promise, BULK.maxWeight);
    handler.admission = { isBulk: true, weight: BULK.maxWeight / 2, pauseMs: 0 };
    await client.write(joined(frame("1"), frame("2"), frame("3")));
    await until(() => handler.bodies.length === 1, "the first body");
    await pause(50);
    assertEquals(handler.started, []);
    blocker.resolve();
    await until(() => handler.started.length === 2, "as many as may be in progress");
    await pause(50);
    assertEquals(handler.started, ["1", "2"]);
    handler.answer();
    await until(() => handler.started.length === 3, "the third");
    handler.answer();
    handler.answer();
  }));

Deno.test("connection: an untracked bulk request waits for its class, and blocks no other", () =>
  withConnection(async ({ bulkQueue, handler, client }) => {
    const blocker = Promise.withResolvers<void>();
    void bulkQueue.track(blocker.promise, BULK.maxWeight);
    handler.admission = { isBulk: true, weight: BULK.maxWeight, isTracked: false, pauseMs: 0 };
    await client.write(joined(frame("1"), frame("2"), frame("3")));
    await until(() => handler.bodies.length === 1, "the first body");
    await pause(50);
    assertEquals(handler.started, []);
    blocker.resolve();
    await until(() => handler.started.length === 3, "all of them");
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

Deno.test("connection: detects the dialect from the first byte, even if bytes come one by one", () =>
  withConnection(async ({ server, handler, client }) => {
    for (const byte of new TextEncoder().encode('{"a":1}')) await client.write(new Uint8Array([byte]));
    await until(() => handler.started.length === 1, "the request");
    assertEquals([server.dialect?.name, handler.started], ["classic", ['{"a":1}']]);
    handler.answer();
  }));
