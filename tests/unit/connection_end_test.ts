/** Connections end in order, whichever side ends them. */
import { assertEquals, assertLess } from "@std/assert";
import { acquireBuffer } from "../../lib/wire/buffers.ts";
import { frame, joined } from "../harness/frames.ts";
import { pause, until, within } from "../harness/wait.ts";
import { MAX_FRAME, msgids, scripted, withConnection } from "./connection_fixture.ts";

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
  withConnection(async ({ handler, client, ran }) => {
    await client.write(frame("1"));
    await until(() => handler.started.length === 1, "the request");
    await client.closeWrite();
    await until(() => handler.ends === 1, "the end");
    assertEquals([handler.leaves, handler.closes], [1, 0]);
    handler.answer(7);
    assertEquals(await msgids(client), [7]);
    await ran;
    assertEquals(handler.closes, 1);
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
