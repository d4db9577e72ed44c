/**
 * The drain of a server: it asks clients to reconnect, serves them until then, and closes after their last
 * replies.
 */
import { assert, assertEquals, assertGreaterOrEqual, assertLess, assertLessOrEqual } from "@std/assert";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { objectFrame } from "../harness/frames.ts";
import { serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const MAX_IN_FLIGHT = 20; // messages in flight of a sender
const ACKS_BEFORE_SIGNAL = 200; // messages before the signal
const TIMER_SLACK_MS = 50; // ms by which timers of a busy machine may be late, and clocks round

/** Sends messages, WINDOW at a time, until the server refuses them. Returns the acknowledged ones. */
async function sendOn(sender: FramedClient, to: FramedClient, acks: Map<string, Received>): Promise<void> {
  let count = 0;
  await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, async () => {
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
    `${signal}: tells each client when to reconnect, loses nothing acknowledged, exits with 0`,
    { args: ["--drain-timeout", "5s"] },
    async (server) => {
      const bob = await newUser(server);
      const senders = await Promise.all(Array.from({ length: 4 }, () => newUser(server)));
      const acks = new Map<string, Received>();
      const sending = Promise.all(senders.map((sender) => sendOn(sender, bob, acks)));
      await until(() => acks.size >= ACKS_BEFORE_SIGNAL, `${ACKS_BEFORE_SIGNAL} acknowledgements`);
      const began = performance.now();
      server.kill(signal);
      await Promise.all([bob, ...senders].map(async (client) => {
        const notice = await client.next(Msg.NOTICE);
        const told = performance.now();
        assertEquals(notice.kind, "draining");
        assert(Number.isInteger(notice.retry_after) && notice.retry_after! >= 0);
        assertLessOrEqual(notice.retry_after!, 550); // 0.5 ms for each of five, plus 500
        const last = Math.max(...[...acks.values()].map(({ time }) => time!));
        await client.serverCloses();
        assertGreaterOrEqual(performance.now() - told, notice.retry_after! - TIMER_SLACK_MS);
        const acked = [...acks].filter(([cid]) => cid.startsWith(`${client.id} `)).map(([, ack]) => ack);
        if (client !== bob) {
          assert(acked.some(({ time }) => time! > last), "requests were carried out after the notice");
        }
      }));
      await sending;
      assertEquals(await server.wait(), 0);
      assertLess(performance.now() - began, 5_000, "the server ends when all connections have ended");
      const pushed = new Set(bob.drain().map(({ cid }) => cid).filter((cid) => cid !== undefined));
      assertGreaterOrEqual(pushed.size, ACKS_BEFORE_SIGNAL);
      for (const client of [bob, ...senders]) await client.close();

      await server.restart();
      await using again = await login(server, { token: bob.token });
      const missing = new Map(acks);
      while (missing.size > 0) {
        const { cid, seq } = await again.next(Msg.ONE_CHAT);
        const ack = missing.get(cid!);
        if (!ack) continue; // committed, but the connection ended before the acknowledgement
        assertEquals(seq, ack.seq, `${cid} as acknowledged`);
        missing.delete(cid!);
      }
    },
  );
}

serverTest("SIGTERM: spreads the reconnect times over 70 % of the drain timeout", {
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
    // 86 if it were even
    assert(count > 40 && count < 140, `${count} of 600 between ${from} and ${from + 100} ms`);
  }
  for (const client of clients) await client.close();
  assertEquals(await server.wait(), 0);
});

serverTest("SIGTERM: sends a classic client its pending replies and closes its connection", {
  args: ["--classic-write-interval", "50ms"],
}, async (server) => {
  const count = 10; // messages, which take half a second to write
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
  "SIGTERM: serves logins on open connections and asks them to reconnect; closes idle unauthenticated ones",
  {
    args: ["--argon2-passes", "8", "--drain-timeout", "5m"],
  },
  async (server) => {
    const [busy, early, idle, mute] = await Promise.all(
      Array.from({ length: 4 }, () => FramedClient.connect(server)),
    );
    const id = await busy!.register("busy");
    await idle!.settle();
    await early!.settle();
    await busy!.send({ msgid: Msg.LOGIN, id, password: PASSWORD }); // takes a tenth of a second or more
    server.kill("SIGTERM");
    await until(() => server.log().includes('"draining"'), "the server to leave");
    await early!.send({ msgid: Msg.REGISTER, name: "early", password: PASSWORD });
    assertEquals((await busy!.next(Msg.LOGIN_ACK)).errno, Errno.OK);
    assertEquals((await busy!.next(Msg.NOTICE)).kind, "draining");
    await busy!.settle();
    await busy!.close(); // so that the server need not close it
    assertEquals((await early!.next(Msg.REGISTER_ACK)).errno, Errno.OK);
    for (const client of [early!, idle!]) assertEquals((await client.next(Msg.NOTICE)).kind, "draining");
    for (const client of [early!, idle!, mute!]) {
      await client.serverCloses();
      assertEquals(client.drain(), []);
      await client.close();
    }
    assertEquals(await server.wait(), 0);
  },
);

// connections: fewer than the listen backlog, and more than one batch of accepts
const QUEUED_CONNECTIONS = 100;

serverTest(
  "SIGTERM: accepts connections of the listen backlog and asks them to reconnect",
  {},
  async (server) => {
    await using first = await newUser(server);
    server.kill("SIGSTOP"); // a busy moment, in which connections wait in the listen backlog
    const clients: FramedClient[] = [];
    try {
      clients.push(
        ...await Promise.all(Array.from({ length: QUEUED_CONNECTIONS }, () => FramedClient.connect(server))),
      );
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
  },
);

serverTest("SIGTERM: accepts no new connection", {}, async (server) => {
  await using client = await newUser(server);
  server.kill("SIGTERM");
  await client.next(Msg.NOTICE);
  const late = await FramedClient.connect(server).catch((error: Error) => error);
  assert(late instanceof Deno.errors.ConnectionRefused, `${late}`);
  await client.settle(); // the server still serves it
  await client.serverCloses();
  await client.close();
  assertEquals(await server.wait(), 0);
});

serverTest("SIGTERM: ends requests that exceed the drain timeout", {
  args: ["--drain-timeout", "500ms", "--argon2-passes", "40"],
}, async (server) => {
  const waiting = 80; // passwords, which take half a minute to hash
  const clients = await Promise.all(Array.from({ length: waiting }, () => FramedClient.connect(server)));
  for (const client of clients) await client.send({ msgid: Msg.REGISTER, name: "x", password: PASSWORD });
  // A half-closed connection waits for a reply that takes longer than the drain timeout.
  using half = await Deno.connect({ hostname: server.host, port: server.port });
  await half.write(objectFrame({ msgid: Msg.REGISTER, name: "y", password: PASSWORD }));
  await half.closeWrite();
  await until(() => clients.some(({ waiting }) => waiting.length > 0), "the first reply: they are under way");
  const began = performance.now();
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 0);
  // far more than the drain timeout, and far less than the hashes take
  assertLess(performance.now() - began, 10_000);
  for (const client of clients) await client.close();
});

serverTest("SIGTERM: with --drain-timeout 0 informs clients and closes their connections at once", {
  args: ["--drain-timeout", "0"],
}, async (server) => {
  await using client = await newUser(server);
  server.kill("SIGTERM");
  const { kind, retry_after } = await client.next(Msg.NOTICE);
  assertEquals([kind, retry_after], ["draining", 0]);
  await client.serverCloses();
  assertEquals(await server.wait(), 0);
});
