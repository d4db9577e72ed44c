/** Rate limits: errno 8 for requests with a reply, and delays for the others. */
import { assert, assertEquals, assertGreaterOrEqual, assertLess, assertLessOrEqual } from "@std/assert";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { runClient } from "../harness/program.ts";
import { serverTest, sharedServer } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";
import { withNodes, wrapped } from "../harness/nodes.ts";
import { BACKLOG_PAGE_WEIGHT, BULK, UNPACED_BULK, weightOf } from "../../lib/server/scheduling/classes.ts";

const BURST = 10; // requests
const RATE = 5; // per second

/** Limits without shared capacity. */
const test = sharedServer({
  args: [
    ...["--message-rate", `${RATE}`, "--message-burst", `${BURST}`, "--shared-rate", "0"],
    ...["--byte-rate", "20000", "--byte-burst", "150000", "--unauthenticated-rate", "0"],
  ],
});

/** Sends all requests at once and returns the replies. */
async function atOnce(client: FramedClient, messages: readonly Sent[]): Promise<Received[]> {
  const rids = messages.map(() => crypto.randomUUID());
  await client.sendBytes(
    joined(...messages.map((message, at) => objectFrame({ ...message, rid: rids[at] }))),
  );
  const replies: Received[] = [];
  for (const rid of rids) replies.push(await client.next((m) => m.rid === rid));
  return replies;
}

const chats = (toid: number, count: number, text = "x") =>
  Array.from({ length: count }, (_, at) => ({ msgid: Msg.ONE_CHAT, toid, msg: `${at} ${text}` }));

test("rates: take the burst, refuse the next message, and take it after retry_after", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const began = performance.now();
  const replies = await atOnce(alice, chats(bob.id, BURST + 1));
  const extra = Math.floor((performance.now() - began) / 1_000 * RATE); // tokens refilled during the sending
  const taken = replies.filter(({ errno }) => errno === Errno.OK);
  assertGreaterOrEqual(taken.length, BURST);
  assertLessOrEqual(taken.length, BURST + extra);
  if (extra === 0) {
    const refused = replies[BURST]!;
    assertEquals([refused.msgid, refused.of, refused.errno], [Msg.ACK, Msg.ONE_CHAT, Errno.RATE_LIMITED]);
    assertEquals(refused.errmsg, "rate limit exceeded");
    assert(refused.retry_after! > 0 && refused.retry_after! <= 1_000 / RATE, `${refused.retry_after}`);
    await pause(refused.retry_after!);
  }
  assertEquals(
    (await alice.chat(bob.id, "later")).seq,
    taken.length + 1,
    "the refused message was not stored",
  );
  assertEquals((await bob.chat(alice.id, "mine")).errno, Errno.OK, "others are counted apart");
});

test("rates: refuse bytes over the limit with retry_after", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const text = "x".repeat(49_000);
  const began = performance.now();
  // the burst
  for (const at of [1, 2, 3]) assertEquals((await alice.chat(bob.id, text)).errno, Errno.OK, `${at}`);
  const { errno, retry_after } = await alice.chat(bob.id, text);
  assertEquals(errno, Errno.RATE_LIMITED);
  const owed = 2_350 - (performance.now() - began); // ms: for some 47,000 bytes of debt, less the time passed
  assert(retry_after! > owed - 500 && retry_after! <= 2_400, `${retry_after} for ${owed}`);
  assertEquals((await alice.chat(bob.id, "small")).errno, Errno.OK, "a small request does not wait");
  await pause(retry_after!);
  assertEquals(
    (await alice.chat(bob.id, "x".repeat(48_000))).errno,
    Errno.OK,
    "a client that waits as told is accepted",
  );
});

test("rates: give a user no new tokens at another login", async (server) => {
  await using bob = await newUser(server);
  await using alice = await newUser(server);
  await atOnce(alice, chats(bob.id, BURST));
  await using again = await login(server, { token: alice.token });
  const began = performance.now();
  const replies = await atOnce(again, chats(bob.id, BURST));
  const taken = replies.filter(({ errno }) => errno === Errno.OK).length;
  assertLessOrEqual(taken, 3 + Math.ceil((performance.now() - began) / 1_000 * RATE));
});

test("rates: charge a large query more than a message", async (server) => {
  await using alice = await newUser(server);
  const began = performance.now();
  const replies = await atOnce(alice, Array.from({ length: 4 }, () => ({ msgid: Msg.CONTACTS })));
  const extra = Math.floor((performance.now() - began) / 1_000);
  const taken = replies.filter(({ errno }) => errno === Errno.OK).length;
  assert(taken >= 2 && taken <= 2 + extra, `${taken}`);
  const refused = replies.find(({ errno }) => errno === Errno.RATE_LIMITED)!;
  assertEquals(refused.msgid, Msg.CONTACTS_ACK);
});

test("rates: delay PING and requests without a reply instead of refusing them", async (server) => {
  await using alice = await newUser(server);
  const began = performance.now();
  const pings = await atOnce(alice, Array.from({ length: BURST + 4 }, () => ({ msgid: Msg.PING })));
  assertGreaterOrEqual(
    performance.now() - began,
    500,
    "four more, at five a second: the first is taken on credit",
  );
  assert(pings.every(({ msgid, errno }) => msgid === Msg.PONG && errno === Errno.OK));
});

test("rates: slow the reading of a flood of refused requests, with replies in order", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const count = BURST + 32 + 12; // 32 refusals are immediate, further ones come at 5 a second
  const began = performance.now();
  const replies = await atOnce(alice, chats(bob.id, count));
  assertGreaterOrEqual(performance.now() - began, 1_000);
  assertEquals(replies.length, count);
  const seqs = replies.filter(({ errno }) => errno === Errno.OK).map(({ seq }) => seq);
  assertEquals(seqs, seqs.map((_, at) => at + 1));
  await bob.take(seqs.length, Msg.ONE_CHAT);
  await bob.settle();
  assertEquals(
    bob.drain().filter(({ msgid }) => msgid === Msg.ONE_CHAT),
    [],
    "and no other one was delivered",
  );
});

test("rates: slow a classic client down instead of refusing, and lose nothing", async (server) => {
  await using bob = await newUser(server);
  await using classic = await ClassicClient.connect(server);
  const id = await register(server);
  await classic.login(id);
  const count = BURST + 3;
  for (const message of chats(bob.id, count)) await classic.send({ ...message, id });
  assertEquals(
    (await bob.take(count, Msg.ONE_CHAT)).map(({ seq }) => seq),
    chats(0, count).map((_, at) => at + 1),
  );
});

test("rates: client.ts waits for retry_after, and sends everything once and in order", async (server) => {
  await using bob = await newUser(server);
  const texts = Array.from({ length: BURST + 5 }, (_, at) => `line ${at}`);
  const input = texts.map((text) => `chat:${bob.id}:${text}\n`).join("");
  const outcome = await runClient(
    [server.host, `${server.port}`, "--user", "patient", "--register"],
    { stdin: input, env: { CHAT_PASSWORD: PASSWORD } },
  );
  assertEquals(outcome.code, 0, outcome.stderr);
  assertEquals((await bob.take(texts.length, Msg.ONE_CHAT)).map(({ msg }) => msg), texts);
});

serverTest("rates: give shared capacity to busy sessions without touching the committed rate of others", {
  args: ["--message-rate", "1", "--message-burst", "10", "--shared-rate", "100"],
}, async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const began = performance.now();
  const replies = await atOnce(alice, chats(bob.id, 80));
  const seconds = (performance.now() - began) / 1_000;
  const taken = replies.filter(({ errno }) => errno === Errno.OK).length;
  assertGreaterOrEqual(taken, 10 + 20); // a fifth of a second of shared capacity is available at once
  assertLessOrEqual(taken, 10 + 20 + Math.ceil(seconds * 101));
  const own = await atOnce(bob, chats(alice.id, 10));
  assert(own.every(({ errno }) => errno === Errno.OK));
});

serverTest("rates: slow the reading of an unauthenticated client after its burst, whatever it sends", {
  args: ["--unauthenticated-rate", "20", "--shared-rate", "0"],
}, async (server) => {
  const burst = 100; // requests of five seconds
  await using unauthenticated = await FramedClient.connect(server);
  const began = performance.now();
  await atOnce(unauthenticated, Array.from({ length: burst }, () => ({ msgid: Msg.PING })));
  await atOnce(unauthenticated, Array.from({ length: 20 }, () => ({ msgid: 99 }))); // unknown
  const slow = performance.now() - began;
  assertGreaterOrEqual(slow, 900, "20 more at 20 a second");

  await using noisy = await ClassicClient.connect(server);
  const noise = new TextEncoder().encode("{}" + " ".repeat(65_536)); // 64 KiB at 20 KiB a second
  const start = performance.now();
  for (const _part of [1, 2, 3]) await noisy.sendBytes(noise); // 92 KiB over its burst
  await noisy.send({ msgid: Msg.REGISTER, name: "noisy", password: PASSWORD });
  await noisy.next(Msg.REGISTER_ACK);
  assertGreaterOrEqual(performance.now() - start, 1_000, "noise costs as much as messages of its size");

  await using calm = await newUser(server);
  assertEquals((await calm.request({ msgid: Msg.PING })).msgid, Msg.PONG, "others are not delayed");
});

Deno.test("rates: backlogs are read in the bulk class even if --message-rate is 0", async () => {
  const max = UNPACED_BULK.maxWeight / BACKLOG_PAGE_WEIGHT;
  const gate = Promise.withResolvers<void>();
  let [reads, maxReads] = [0, 0];
  await withNodes(1, async (node) => {
    const sender = await newUser(node);
    const ids: number[] = [];
    for (let at = 0; at < max + 5; at++) ids.push(await register(node));
    for (const id of ids) await sender.chat(id, "while you were away");
    const clients: FramedClient[] = [];
    for (const id of ids) clients.push(await login(node, { id }));
    await until(() => reads === max, "backlogs to be read");
    await pause(50);
    gate.resolve();
    for (const client of clients) await client.next(Msg.ONE_CHAT);
    for (const client of [sender, ...clients]) await client.close();
  }, {
    config: { messageRate: 0, unauthenticatedRate: 0 },
    store: (store) =>
      wrapped(store, async (name, go) => {
        if (name !== "read") return go();
        maxReads = Math.max(maxReads, ++reads);
        await gate.promise;
        reads--;
        return go();
      }),
  });
  assert(maxReads === max, `${maxReads} at once`);
});

test("rates: delay a request without a reply, and do not drop it", async (server) => {
  await using alice = await newUser(server);
  const bob = await newUser(server);
  const { seq } = await alice.chat(bob.id, "once");
  await bob.next(Msg.ONE_CHAT);
  const others = Array.from({ length: 12 * BURST }, () => ({ msgid: Msg.DELIVERED, id: bob.id, seq: 1 }));
  const last = { msgid: Msg.DELIVERED, id: alice.id, seq: seq! };
  await bob.sendBytes(joined(...[...others, last].map(objectFrame)));
  await pause(1_000);
  await bob.close();
  await using again = await login(server, { token: bob.token });
  await pause(100);
  assertEquals(again.drain().filter(({ msgid }) => msgid === Msg.ONE_CHAT), []);
});

serverTest("rates: requests that follow a LOGIN in the same write count for the session", {
  args: ["--unauthenticated-rate", "4", "--shared-rate", "0"],
}, async (server) => {
  await using user = await newUser(server);
  await using client = await FramedClient.connect(server);
  const startedAt = performance.now();
  const replies = await atOnce(client, [
    { msgid: Msg.LOGIN, token: user.token },
    ...Array.from({ length: 40 }, () => ({ msgid: Msg.PING })), // 20 more than the rate before a login
  ]);
  assert(replies.every(({ errno }) => errno === Errno.OK));
  assertLess(performance.now() - startedAt, 3_000, "20 more would take 5 s");
});

Deno.test("rates: messages beyond the committed rate weigh as much as their bytes", async () => {
  const text = "x".repeat(50_000);
  const max = Math.floor(BULK.maxWeight / weightOf(1, text.length)); // in progress
  const gate = Promise.withResolvers<void>();
  let appends = 0;
  await withNodes(1, async (node) => {
    await using receiver = await newUser(node);
    const senders = await Promise.all(Array.from({ length: max + 3 }, () => newUser(node)));
    const pings = Array.from({ length: BURST - 1 }, () => ({ msgid: Msg.PING })); // below the reserve
    for (const sender of senders) await atOnce(sender, pings);
    const replies = senders.map((sender) => sender.chat(receiver.id, text));
    await until(() => appends === max, "the first messages");
    await pause(3 * BULK.maxPauseMs); // a pause of the class must not hide that more may start
    assertEquals(appends, max);
    gate.resolve();
    for (const reply of replies) assertEquals((await reply).errno, Errno.OK);
    for (const sender of senders) await sender.close();
  }, {
    config: { messageRate: 1, messageBurst: BURST, unauthenticatedRate: 0 },
    store: (store) =>
      wrapped(store, async (name, go) => {
        if (name !== "append") return go();
        appends++;
        await gate.promise;
        return go();
      }),
  });
});
