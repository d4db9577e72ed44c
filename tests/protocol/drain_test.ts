/**
 * Draining: every client is notified, served until its time to reconnect, and closed after its pending
 * replies.
 */
import { assert, assertEquals, assertGreaterOrEqual, assertLess, assertLessOrEqual } from "@std/assert";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { objectFrame } from "../harness/frames.ts";
import { serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const WINDOW = 20; // messages of a sender under way at once
const ACKED_BEFORE = 200; // messages before the signal
const SLOW = 50; // ms: timers of a busy machine may be late, and clocks round

/** Sends messages, WINDOW in flight, until the server accepts no more. Returns the acknowledged ones. */
async function sendOn(sender: FramedClient, to: FramedClient, acks: Map<string, Received>): Promise<void> {
  let count = 0;
  await Promise.all(Array.from({ length: WINDOW }, async () => {
    for (;;) {
      const cid = `${sender.id} ${++count}`;
      const ack = await sender.chat(to.id, "on and on", cid).catch(() => undefined);
      if (!ack) return;
      assertEquals(ack.errno, Errno.OK, ack.errmsg);
      acks.set(cid, ack);
    }
  }));
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  serverTest(
    `${signal}: each client is told when to move and served until then; what is acked is kept, and the end is 0`,
    { args: ["--drain-timeout", "5s"] },
    async (server) => {
      const bob = await newUser(server);
      const senders = await Promise.all(Array.from({ length: 4 }, () => newUser(server)));
      const acks = new Map<string, Received>();
      const sending = Promise.all(senders.map((sender) => sendOn(sender, bob, acks)));
      await until(() => acks.size >= ACKED_BEFORE, `${ACKED_BEFORE} acknowledgements`);
      const began = performance.now();
      server.kill(signal);
      await Promise.all([bob, ...senders].map(async (client) => {
        const notice = await client.next(Msg.NOTICE);
        const told = performance.now();
        assertEquals(notice.kind, "draining");
        assert(Number.isInteger(notice.retry_after) && notice.retry_after! >= 0);
        assertLessOrEqual(notice.retry_after!, 550); // 0.5 ms for each of five, and 500
        const last = Math.max(...[...acks.values()].map(({ time }) => time!));
        await client.serverCloses();
        assertGreaterOrEqual(performance.now() - told, notice.retry_after! - SLOW);
        const acked = [...acks].filter(([cid]) => cid.startsWith(`${client.id} `)).map(([, ack]) => ack);
        if (client !== bob) {
          assert(acked.some(({ time }) => time! > last), "requests were carried out after the notice");
        }
      }));
      await sending;
      assertEquals(await server.wait(), 0);
      assertLess(performance.now() - began, 5_000, "it ends when all have gone");
      const pushed = new Set(bob.drain().map(({ cid }) => cid).filter((cid) => cid !== undefined));
      assertGreaterOrEqual(pushed.size, ACKED_BEFORE);
      for (const client of [bob, ...senders]) await client.close();

      await server.restart();
      await using again = await login(server, { token: bob.token });
      const missing = new Map(acks);
      while (missing.size > 0) {
        const { cid, seq } = await again.next(Msg.ONE_CHAT);
        const ack = missing.get(cid!);
        if (!ack) continue; // committed, and the acknowledgement was cut off
        assertEquals(seq, ack.seq, `${cid} as acknowledged`);
        missing.delete(cid!);
      }
    },
  );
}

serverTest("SIGTERM: clients get reconnect times that are spread over 70 % of the drain timeout", {
  args: ["--drain-timeout", "1s"],
}, async (server) => {
  const clients = await Promise.all(Array.from({ length: 600 }, () => newUser(server)));
  server.kill("SIGTERM");
  const times = await Promise.all(
    clients.map(async (client) => (await client.next(Msg.NOTICE)).retry_after!),
  );
  assertLessOrEqual(Math.max(...times), 700);
  for (let from = 0; from < 700; from += 100) {
    const count = times.filter((time) => time >= from && time < from + 100).length;
    assert(count > 40 && count < 140, `${count} of 600 between ${from} and ${from + 100} ms`); // 86 if it were even
  }
  for (const client of clients) await client.close();
  assertEquals(await server.wait(), 0);
});

serverTest("SIGTERM: a classic client gets its pending replies and is closed", {
  args: ["--classic-write-interval", "50ms"],
}, async (server) => {
  const count = 10; // messages, which take half a second to be written
  await using alice = await newUser(server);
  const id = await register(server);
  await using classic = await ClassicClient.connect(server);
  await classic.enter(id);
  await Promise.all(Array.from({ length: count }, (_, at) => alice.chat(id, `${at}`)));
  server.kill("SIGTERM");
  const got = await Promise.all(Array.from({ length: count }, () => classic.next(Msg.ONE_CHAT)));
  assertEquals(got.map(({ msg }) => msg), got.map((_, at) => `${at}`));
  await classic.serverCloses();
  assertEquals(classic.drain(), []);
  for (const client of [classic, alice]) await client.close();
  assertEquals(await server.wait(), 0);
});

serverTest(
  "SIGTERM: logins on open connections are served and notified, and idle unauthenticated clients are closed",
  {
    args: ["--scrypt-ln", "15", "--drain-timeout", "5m"],
  },
  async (server) => {
    const [busy, early, idle, mute] = await Promise.all(
      Array.from({ length: 4 }, () => FramedClient.connect(server)),
    );
    const id = await busy!.register("busy");
    await idle!.settle();
    await early!.settle();
    await busy!.send({ msgid: Msg.LOGIN, id, password: PASSWORD }); // a tenth of a second, or more
    server.kill("SIGTERM");
    await until(() => server.log().includes('"draining"'), "the server to leave");
    await early!.send({ msgid: Msg.REGISTER, name: "early", password: PASSWORD });
    assertEquals((await busy!.next(Msg.LOGIN_ACK)).errno, Errno.OK);
    assertEquals((await busy!.next(Msg.NOTICE)).kind, "draining");
    await busy!.settle();
    await busy!.close(); // it need not be closed
    assertEquals((await early!.next(Msg.REGISTER_ACK)).errno, Errno.OK);
    for (const stranger of [early!, idle!]) assertEquals((await stranger.next(Msg.NOTICE)).kind, "draining");
    for (const client of [early!, idle!, mute!]) {
      await client.serverCloses();
      assertEquals(client.drain(), []);
      await client.close();
    }
    assertEquals(await server.wait(), 0);
  },
);

const QUEUED = 100; // connections: fewer than the kernel keeps in line, more than are accepted in one turn

serverTest("SIGTERM: connections in the accept queue are accepted and notified", {}, async (server) => {
  await using first = await newUser(server);
  server.kill("SIGSTOP"); // a busy moment: what comes now waits in the kernel's queue
  const clients: FramedClient[] = [];
  try {
    clients.push(...await Promise.all(Array.from({ length: QUEUED }, () => FramedClient.connect(server))));
    for (const client of clients) await client.send({ msgid: Msg.PING });
    server.kill("SIGTERM");
    server.kill("SIGCONT");
    await Promise.all(clients.map(async (client) => {
      await client.next(Msg.PONG);
      assertEquals((await client.next(Msg.NOTICE)).kind, "draining");
      await client.serverCloses();
      await client.close();
    }));
    await first.close();
    assertEquals(await server.wait(), 0);
  } finally {
    for (const client of clients) await client.close();
  }
});

serverTest("SIGTERM: no connection is accepted any more", {}, async (server) => {
  await using client = await newUser(server);
  server.kill("SIGTERM");
  await client.next(Msg.NOTICE);
  const late = await FramedClient.connect(server).catch((error: Error) => error);
  assert(late instanceof Deno.errors.ConnectionRefused, `${late}`);
  await client.settle(); // it is served all the same
  await client.serverCloses();
  await client.close();
  assertEquals(await server.wait(), 0);
});

serverTest("SIGTERM: the server does not wait for connections beyond the drain timeout", {
  args: ["--drain-timeout", "500ms", "--scrypt-ln", "17"],
}, async (server) => {
  const waiting = 80; // passwords to be hashed: half a minute of work
  const clients = await Promise.all(Array.from({ length: waiting }, () => FramedClient.connect(server)));
  for (const client of clients) await client.send({ msgid: Msg.REGISTER, name: "x", password: PASSWORD });
  // A client that has ended its sending waits for a reply that takes longer than the drain timeout.
  using half = await Deno.connect({ hostname: server.host, port: server.port });
  await half.write(objectFrame({ msgid: Msg.REGISTER, name: "y", password: PASSWORD }));
  await half.closeWrite();
  await until(() => clients.some(({ waiting }) => waiting.length > 0), "the first reply: they are under way");
  const began = performance.now();
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 0);
  assertLess(performance.now() - began, 10_000); // far more than it may take, far less than the work
  for (const client of clients) await client.close();
});

serverTest("SIGTERM with --drain-timeout 0: clients are notified and closed at once", {
  args: ["--drain-timeout", "0"],
}, async (server) => {
  await using client = await newUser(server);
  server.kill("SIGTERM");
  const { kind, retry_after } = await client.next(Msg.NOTICE);
  assertEquals([kind, retry_after], ["draining", 0]);
  await client.serverCloses();
  assertEquals(await server.wait(), 0);
});
