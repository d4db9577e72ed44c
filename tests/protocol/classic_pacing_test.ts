/**
 * The writes of the classic dialect. Its clients take the bytes of one read of up to 1,024 bytes for exactly
 * one message, so each write must be one message.
 */
import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import { type Arrival, ClassicClient } from "../harness/classic_client.ts";
import { type ClassicReceived, Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName, login, newGroup, newUser, register } from "../harness/framed_client.ts";
import { serverTest, sharedServer } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";

const test = sharedServer();

const MAX_MESSAGE_BYTES = 1_023; // bytes of one message, its NUL included

function assertSmall(arrivals: readonly Arrival[]): void {
  for (const { bytes } of arrivals) assertLessOrEqual(bytes, MAX_MESSAGE_BYTES);
}

/** Returns the reply to the login and the messages after it, until `count` messages have arrived. */
async function missed(client: ClassicClient, id: number, count: number): Promise<ClassicReceived[]> {
  const ack = await client.enter(id);
  assertLessOrEqual(new TextEncoder().encode(JSON.stringify(ack)).length + 1, MAX_MESSAGE_BYTES);
  const first = (ack.offlinemsg ?? []).map((text) => JSON.parse(text) as ClassicReceived);
  const rest = await client.arrivals(count - first.length);
  assertSmall(rest);
  return [...first, ...rest.map((arrival) => arrival.message)];
}

test("classic: sends the backlog that exceeds the login reply after it, oldest first", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  const texts = Array.from({ length: 60 }, (_, at) => `${at} ${"é".repeat(at * 3)}`);
  for (const text of texts) await alice.chat(id, text);
  await using client = await ClassicClient.connect(server);
  const all = await missed(client, id, texts.length);
  assertEquals(all.map((m) => [m.msgid, m.id, m.msg]), texts.map((text) => [Msg.ONE_CHAT, alice.id, text]));
  await alice.chat(id, "and then");
  assertEquals((await client.next(() => true)).msg, "and then");
});

test("classic: sends the backlog message by message when none fits into the login reply", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  for (let at = 0; at < 5; at++) await alice.chat(id, `${at} ${"x".repeat(700)}`);
  await using client = await ClassicClient.connect(server);
  const all = await missed(client, id, 5);
  assertEquals(all.map((m) => m.msg![0]), ["0", "1", "2", "3", "4"]);
  assert(all.every((m) => m.msg!.length === 702));
});

test("classic: sends the backlog of several conversations oldest first", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const id = await register(server);
  const member = await login(server, { id });
  const groupid = await newGroup(alice, [bob, member]);
  await member.close();
  for (let at = 0; at < 30; at++) {
    const text = `${at} ${"x".repeat(60)}`;
    if (at % 3 === 0) await alice.chat(id, text);
    else if (at % 3 === 1) await bob.chat(id, text);
    else await (at % 2 ? alice : bob).groupChat(groupid, text);
    await pause(3); // times have milliseconds, and messages of the same millisecond have no order
  }
  await using client = await ClassicClient.connect(server);
  const all = await missed(client, id, 30);
  assertEquals(all.map((m) => Number.parseInt(m.msg!)), Array.from({ length: 30 }, (_, at) => at));
});

test("classic: sends a new message after the backlog that is still in flight", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  const text = (at: number) => `${at} ${"x".repeat(500)}`;
  for (let at = 0; at < 20; at++) await alice.chat(id, text(at));
  await using client = await ClassicClient.connect(server);
  await client.login(id);
  for (let at = 20; at < 30; at++) await alice.chat(id, text(at));
  // The login reply may contain the first message; each other one is a write of its own.
  await until(() => client.waiting.at(-1)?.message.msg === text(29), "the last message");
  const arrivals = client.drain();
  assertSmall(arrivals);
  const numbers = arrivals.map((arrival) => Number.parseInt(arrival.message.msg!));
  assertEquals(numbers, Array.from({ length: numbers.length }, (_, at) => 30 - numbers.length + at));
  assertGreaterOrEqual(numbers.length, 28);
});

test("classic: cuts a longer text at a character, which framed clients get in full", async (server) => {
  await using alice = await newUser(server);
  await using client = await ClassicClient.connect(server);
  const id = await register(server);
  await client.login(id);
  const texts = ["x", "é", "中", "😀", '"', "\\", "\n", "\0", "e\u0301"].map((piece) => piece.repeat(3_000));
  for (const text of texts) {
    assertEquals((await alice.chat(id, text)).errno, Errno.OK);
    const [{ message, bytes }] = await client.arrivals(1) as [Arrival];
    assertLessOrEqual(bytes, MAX_MESSAGE_BYTES);
    assertGreaterOrEqual(bytes, MAX_MESSAGE_BYTES - 20, "cut no more than needed");
    const msg = message.msg!;
    assert(msg.endsWith("…"), msg.slice(-10));
    const shown = text.replaceAll("\0", "?"); // NUL would end the message
    assert(shown.startsWith(msg.slice(0, -1)) && msg.isWellFormed(), "the remaining state is unchanged");
    assertEquals([message.id, message.name], [alice.id, alice.name]);
    assert(message.time);
  }
  const { messages } = await alice.succeed({ msgid: Msg.HISTORY, id, limit: 1 });
  assert(messages![0]!.msg === texts.at(-1), "the text is stored completely");
});

test("classic: does not cut a text that just fits", async (server) => {
  await using alice = await newUser(server);
  await using client = await ClassicClient.connect(server);
  const id = await register(server);
  await client.login(id);
  await alice.chat(id, "x");
  const [{ bytes }] = await client.arrivals(1) as [Arrival];
  const fits = "x".repeat(1 + MAX_MESSAGE_BYTES - bytes);
  await alice.chat(id, fits);
  await alice.chat(id, `${fits}x`);
  const [whole, cut] = await client.arrivals(2) as [Arrival, Arrival];
  // All seqs have one digit, as a second one would change the length.
  assertEquals([whole.bytes, whole.message.msg], [MAX_MESSAGE_BYTES, fits]);
  assert(cut.message.msg!.endsWith("…"));
  assertLessOrEqual(cut.bytes, MAX_MESSAGE_BYTES);
});

test("classic: leaves out the last friends and groups when the login reply is too long", async (server) => {
  await using alice = await newUser(server, `${"n".repeat(40)} alice`);
  const friends: number[] = [];
  for (let at = 0; at < 40; at++) {
    friends.push(await register(server, `${"f".repeat(40)} ${at}`));
    await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: friends[at] });
  }
  for (let at = 0; at < 10; at++) {
    const groupname = freshName(`${"g".repeat(30)} ${at}`);
    await alice.succeed({ msgid: Msg.CREATE_GROUP, groupname, groupdesc: "d".repeat(200) });
  }
  const { id, name } = alice;
  await alice.close();
  await using client = await ClassicClient.connect(server);
  const ack = await client.enter(id);
  assertEquals([ack.id, ack.name], [id, name]);
  assertLessOrEqual(new TextEncoder().encode(JSON.stringify(ack)).length + 1, MAX_MESSAGE_BYTES);
  const listed = (ack.friends ?? []).map((text) => (JSON.parse(text) as { id: number }).id);
  assert(listed.length > 0, "friends are left out last");
  assertEquals(listed, friends.slice(0, listed.length));
});

test("classic: waits at least 10 ms between two writes", async (server) => {
  const count = 50;
  await using alice = await newUser(server);
  await using client = await ClassicClient.connect(server);
  await client.login(await register(server));
  const start = performance.now();
  await Promise.all(Array.from({ length: count }, (_, at) => alice.chat(client.id, `${at}`)));
  const arrivals = await client.arrivals(count);
  const took = performance.now() - start;
  assertEquals(
    arrivals.map((arrival) => arrival.message.msg),
    Array.from({ length: count }, (_, at) => `${at}`),
  );
  // Late reads lengthen the gap and never shorten it; timers may be a little early.
  assertGreaterOrEqual(took, (count - 1) * 10 * 0.95);
});

// The gap is so long that this process has read one message before the server writes the next.
serverTest(
  "classic: puts one message into each write for login, backlog and chat",
  { args: ["--classic-write-interval", "150ms"] },
  async (server) => {
    await using alice = await newUser(server);
    const id = await register(server);
    for (let at = 0; at < 12; at++) await alice.chat(id, `${at} ${"x".repeat(at * 150)}`);
    await using client = await ClassicClient.connect(server, { strict: true });
    const all = await missed(client, id, 12);
    assertEquals(all.map((m) => Number.parseInt(m.msg!)), Array.from({ length: 12 }, (_, at) => at));
    await Promise.all(Array.from({ length: 10 }, (_, at) => alice.chat(id, `more ${at}`)));
    const more = await client.arrivals(10);
    assertEquals(
      more.map((arrival) => arrival.message.msg),
      Array.from({ length: 10 }, (_, at) => `more ${at}`),
    );
  },
);

serverTest(
  "classic: applies neither limit when both options are 0",
  { args: ["--classic-write-interval", "0ms", "--classic-bytes", "0"] },
  async (server) => {
    await using alice = await newUser(server);
    const id = await register(server);
    const long = "é".repeat(20_000);
    await alice.chat(id, long);
    await using client = await ClassicClient.connect(server);
    const reply = await client.login(id);
    assert((JSON.parse(reply.offlinemsg![0]!) as ClassicReceived).msg === long);
    await alice.chat(id, long);
    assert((await client.next(Msg.ONE_CHAT)).msg === long);
  },
);

test("classic: repeats unsent messages at the next login when the client disconnects", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  const count = 100;
  const client = await ClassicClient.connect(server);
  await client.login(id);
  await Promise.all(Array.from({ length: count }, (_, at) => alice.chat(id, `${at + 1}`)));
  // At 10 ms each, most messages cannot have been written yet.
  await client.close();
  const seen = client.drain().map((arrival) => Number(arrival.message.msg));
  await using framed: FramedClient = await login(server, { id });
  await until(() => framed.waiting.at(-1)?.seq === count, "the last message");
  const rest = framed.drain().map((m) => m.seq!);
  assertEquals(rest, Array.from({ length: rest.length }, (_, at) => count - rest.length + 1 + at), "no gap");
  // Messages that the socket had taken and this side had not read may be lost; a few at most.
  assertLessOrEqual(count - rest.length - seen.length, 5);
});
