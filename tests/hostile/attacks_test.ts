/** Attackers, and clients that do not read: the server's memory stays bounded, and it serves all others. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Errno, MAX_FRAME, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { frame, joined, objectFrame } from "../harness/frames.ts";
import { Random } from "../harness/random.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const MEBIBYTE = 1_048_576;

/**
 * Bytes by which the server's memory may grow. Its runtime uses up to 180 MiB before it collects the garbage
 * of long messages, independent of their number and of a recipient.
 */
const MAX_GROWTH_BYTES = 256 * MEBIBYTE;

/** Returns two users that chat. */
async function baselinePair(server: Server) {
  const alice = await newUser(server);
  const bob = await newUser(server);
  let count = 0;
  return {
    /** Asserts that a message of one user is acknowledged and delivered to the other. */
    async chat() {
      const msg = `baseline ${++count}`;
      const ack = await alice.chat(bob.id, msg);
      assertEquals([ack.errno, ack.seq], [Errno.OK, count]);
      assertEquals((await bob.next(Msg.ONE_CHAT)).msg, msg);
    },
    async [Symbol.asyncDispose]() {
      await alice.close();
      await bob.close();
    },
  };
}

serverTest("attacks: reserves no memory for announced lengths", {}, async (server) => {
  await using pair = await baselinePair(server);
  await pair.chat();
  const before = server.memory;
  const clients = [];
  for (let at = 0; at < 300; at++) {
    const client = await FramedClient.connect(server);
    await client.sendBytes(frame("{", MAX_FRAME));
    clients.push(client);
  }
  await pair.chat();
  assertLess(server.memory - before, 300 * MAX_FRAME, "no memory is reserved for announced bytes");
  for (const client of clients) await client.close();
  await pair.chat();
});

serverTest("attacks: survives random bytes", {}, async (server) => {
  await using pair = await baselinePair(server);
  const random = new Random(7);
  for (let round = 0; round < 100; round++) {
    await using client = await FramedClient.connect(server);
    const bytes = random.bytes(1 + random.below(5_000));
    if (round % 3 === 0) bytes[0] = 0x7b; // taken for a classic client
    if (round % 3 === 1) bytes.fill(0, 0, 3); // small lengths
    await client.sendBytes(bytes).catch(() => {}); // the server may close the connection first
    if (round % 10 === 0) await pair.chat();
  }
  await pair.chat();
  assert(server.running);
});

serverTest("attacks: retains no memory of connections that close at once", {}, async (server) => {
  await using pair = await baselinePair(server);
  await pair.chat();
  const before = server.memory;
  for (let round = 0; round < 1_000; round++) {
    const client = await FramedClient.connect(server);
    if (round % 2) await client.sendBytes(Uint8Array.of(0, 0));
    await client.close();
  }
  await pair.chat();
  assertLess(server.memory - before, MAX_GROWTH_BYTES);
});

serverTest(
  "attacks: bounds memory while a recipient does not read, and then delivers everything in order",
  {},
  async (server) => {
    // 300 MB, more than the memory may grow; larger messages would be bulk work
    const [count, size] = [18_750, 16_000];
    await using pair = await baselinePair(server);
    await using sender = await newUser(server);
    const id = await register(server);
    await using slow = await FramedClient.connect(server, { paused: true });
    await slow.send({ msgid: Msg.LOGIN, id, password: PASSWORD });
    // The sender learns of the paused client's login as its follower, as that client reads no reply.
    await sender.succeed({ msgid: Msg.ADD_FRIEND, friendid: id });
    await until(async () => {
      return (await sender.succeed({ msgid: Msg.CONTACTS })).friends![0]!.state === "online";
    }, "the login of who never reads");
    const before = server.memory;
    const text = "x".repeat(size);
    let most = 0;
    for (let sent = 0; sent < count; sent += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, at) => sender.chat(id, `${sent + at} ${text}`)));
      most = Math.max(most, server.memory - before);
      if (sent % 500 === 0) await pair.chat();
    }
    assertLess(most, MAX_GROWTH_BYTES);
    slow.resume();
    for (let at = 0; at < count; at++) {
      const chat = await slow.next(Msg.ONE_CHAT);
      assertEquals(chat.seq, at + 1);
      assert(chat.msg!.startsWith(`${at} x`));
    }
    await pair.chat();
    assertLess(server.memory - before, MAX_GROWTH_BYTES);
  },
);

serverTest("attacks: bounds memory when large replies are never read", {}, async (server) => {
  await using pair = await baselinePair(server);
  await using writer = await newUser(server);
  const id = await register(server);
  const text = "x".repeat(60_000);
  for (let at = 0; at < 20; at++) await writer.chat(id, text);
  const before = server.memory;
  await using flood = await FramedClient.connect(server, { paused: true });
  await flood.send({ msgid: Msg.LOGIN, id, password: PASSWORD });
  // 5,000 replies of a megabyte each, if the server made them all.
  const requests = joined(
    ...Array.from({ length: 5_000 }, () => objectFrame({ msgid: Msg.HISTORY, id: writer.id, limit: 100 })),
  );
  // the server stops reading, and closing ends the write
  const writing = flood.sendBytes(requests).catch(() => {});
  let most = 0;
  for (let round = 0; round < 200; round++) {
    await pair.chat();
    if (round % 10 === 0) most = Math.max(most, server.memory - before);
  }
  assertLess(most, MAX_GROWTH_BYTES);
  await flood.close();
  await writing;
  await pair.chat();
});

serverTest("attacks: stops reading from a client that does not read its replies", {}, async (server) => {
  await using pair = await baselinePair(server);
  const before = server.memory;
  await using flood = await FramedClient.connect(server, { paused: true });
  const requests = joined(...Array.from({ length: 20_000 }, () => objectFrame({ msgid: Msg.PING })));
  let taken = false;
  const writing = (async () => {
    // 34 MB, several times the size of both kernels' socket buffers
    for (let round = 0; round < 100; round++) await flood.sendBytes(requests);
    taken = true;
  })().catch(() => {}); // closing ends the write
  let most = 0;
  for (let round = 0; round < 200; round++) {
    await pair.chat();
    if (round % 10 === 0) most = Math.max(most, server.memory - before);
  }
  assertLess(most, MAX_GROWTH_BYTES);
  assert(!taken, "the server does not read from a client that does not read its replies");
  await flood.close();
  await writing;
  await pair.chat();
});

// With the login throttle off, the hash queue must bound the work.
serverTest("attacks: serves others during a flood of wrong passwords", {
  args: ["--argon2-passes", "2", "--max-failed-logins", "1000000"],
}, async (server) => {
  await using pair = await baselinePair(server);
  const id = await register(server);
  const before = server.memory;
  const clients = await Promise.all(Array.from({ length: 20 }, () => FramedClient.connect(server)));
  const attempts = joined(...Array.from({ length: 500 }, () => (
    objectFrame({ msgid: Msg.LOGIN, id, password: "wrong" })
  )));
  await Promise.all(clients.map((client) => client.sendBytes(attempts)));
  for (let round = 0; round < 20; round++) await pair.chat();
  assertLess(server.memory - before, MAX_GROWTH_BYTES);
  const errnos = new Set(clients.flatMap((client) => client.waiting.map((m) => m.errno)));
  for (const errno of errnos) {
    assert(errno === Errno.FAILED || errno === Errno.RATE_LIMITED || errno === Errno.UNAVAILABLE, `${errno}`);
  }
  for (const client of clients) await client.close();
  await using user = await login(server, { id });
  assertEquals(user.id, id);
});
