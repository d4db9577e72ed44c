/** Messages between two users. */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
  assertStringIncludes,
} from "@std/assert";
import { Errno, MAX_FRAME, MAX_INTEGER, Msg } from "../harness/protocol_numbers.ts";
import { freshName, login, newUser, register } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { sharedServer } from "../harness/server.ts";

const test = sharedServer();

/** Milliseconds by which two readings of the machine's clock may differ. */
const CLOCK_SLACK_MS = 1_000;

test("chat: acknowledges a message with seq and time, and delivers it with its sender", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const before = Date.now();
  const ack = await alice.request({ msgid: Msg.ONE_CHAT, toid: bob.id, msg: "hello é😀", cid: "first" });
  assertEquals([ack.msgid, ack.of, ack.errno, ack.seq], [Msg.ACK, Msg.ONE_CHAT, Errno.OK, 1]);
  assert(Number.isInteger(ack.time));
  assertGreaterOrEqual(ack.time!, before - CLOCK_SLACK_MS);
  assertLessOrEqual(ack.time!, Date.now() + CLOCK_SLACK_MS);
  const chat = await bob.next(Msg.ONE_CHAT);
  const { id, name, toid, msg, time, seq, cid } = chat;
  assertEquals(
    { id, name, toid, msg, time, seq, cid },
    { id: alice.id, name: alice.name, toid: bob.id, msg: "hello é😀", time: ack.time!, seq: 1, cid: "first" },
  );
  assert(!("rid" in chat), "a push answers nothing");
});

test("chat: numbers both directions as one conversation, and other conversations apart", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await using carol = await newUser(server);
  assertEquals((await alice.chat(bob.id, "1")).seq, 1);
  assertEquals((await bob.chat(alice.id, "2")).seq, 2);
  assertEquals((await alice.chat(bob.id, "3")).seq, 3);
  assertEquals((await alice.chat(carol.id, "other")).seq, 1);
  assertEquals((await bob.take(2, Msg.ONE_CHAT)).map((m) => [m.seq, m.msg]), [[1, "1"], [3, "3"]]);
  assertEquals((await alice.next(Msg.ONE_CHAT)).seq, 2);
  assertEquals((await carol.next(Msg.ONE_CHAT)).seq, 1);
});

test("I6 chat: refuses a message that names another user as its sender", async (server) => {
  await using mallory = await newUser(server);
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const forged = { id: alice.id, fromid: alice.id, name: alice.name, time: 1, seq: 77, sender: alice.id };
  const ack = await mallory.request({
    msgid: Msg.ONE_CHAT,
    toid: bob.id,
    msg: "trust me",
    cid: "1",
    ...forged,
  });
  // The server may refuse it or ignore its claims, but no user receives it in alice's name.
  if (ack.errno === Errno.OK) {
    const chat = await bob.next(Msg.ONE_CHAT);
    assertEquals([chat.id, chat.name, chat.seq], [mallory.id, mallory.name, 1]);
    assertEquals(chat.time, ack.time);
    assert(chat.time !== 1);
  }
  await mallory.chat(bob.id, "honestly");
  const chat = await bob.next((m) => m.msg === "honestly");
  assertEquals([chat.id, chat.name], [mallory.id, mallory.name]);
  assertEquals(bob.drain(), []);
});

test("chat: refuses an id that is not a positive 32-bit integer, and names the field", async (server) => {
  await using alice = await newUser(server);
  const bad = [0, -1, 2 ** 31, -(2 ** 31), 2 ** 53, 1e300, 1.5, "1", "", null, true, [], [1], {}, undefined];
  const requests = (id: unknown) =>
    [
      ["toid", { msgid: Msg.ONE_CHAT, toid: id, msg: "hi", cid: "x" }],
      ["groupid", { msgid: Msg.GROUP_CHAT, groupid: id, msg: "hi", cid: "x" }],
      ["friendid", { msgid: Msg.ADD_FRIEND, friendid: id }],
      ["groupid", { msgid: Msg.ADD_GROUP, groupid: id }],
    ] as const;
  for (const id of bad) {
    for (const [field, request] of requests(id)) {
      const reply = await alice.request(request);
      const got = [reply.msgid, reply.of, reply.errno];
      assertEquals(got, [Msg.ACK, request.msgid, Errno.BAD_REQUEST], `${field}: ${JSON.stringify(id)}`);
      assertStringIncludes(reply.errmsg!, field);
    }
  }
  for (const [, request] of requests(MAX_INTEGER)) {
    assertEquals((await alice.request(request)).errno, Errno.NOT_FOUND, JSON.stringify(request));
  }
});

test("chat: takes a text of 1 character and one that fills a frame", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const frameOf = (msg: string) =>
    JSON.stringify({ msgid: Msg.ONE_CHAT, rid: 7, toid: bob.id, cid: "long", msg });
  const longest = "x".repeat(MAX_FRAME - frameOf("").length);
  const emoji = "😀".repeat((MAX_FRAME - 200) / 4 | 0);
  const texts = [
    "x",
    " ",
    "\n",
    "😀",
    "\0",
    "a\0b",
    "\u001b[2J",
    '"\\{}',
    "\u2028",
    "x".repeat(1_024),
    longest,
    emoji,
  ];
  let seq = 0;
  for (const msg of texts) {
    const ack = msg === longest
      ? await alice.sendBody(frameOf(msg)).then(() => alice.next((m) => m.rid === 7))
      : await alice.chat(bob.id, msg);
    assertEquals([ack.errno, ack.seq], [Errno.OK, ++seq], `${msg.length} characters: ${ack.errmsg}`);
    assert((await bob.next(Msg.ONE_CHAT)).msg === msg, `${msg.length} characters come as they were`);
  }
  // The same holds for the stored message.
  await bob.close();
  await using again = await login(server, { id: bob.id });
  const stored = await again.take(texts.length, Msg.ONE_CHAT);
  stored.forEach((chat, at) => assert(chat.msg === texts[at], `text ${at} is stored as it was`));
});

test("chat: refuses a text that is empty or not a string", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  for (const msg of ["", 1, null, true, [], ["hi"], {}, undefined]) {
    const reply = await alice.request({ msgid: Msg.ONE_CHAT, toid: bob.id, msg, cid: "x" });
    assertEquals([reply.of, reply.errno], [Msg.ONE_CHAT, Errno.BAD_REQUEST], JSON.stringify(msg));
    assertStringIncludes(reply.errmsg!, "msg");
  }
  assertEquals((await alice.chat(bob.id, "fine", "x")).seq, 1, "none of them was stored");
});

test("chat: goes on after a text with half of a surrogate pair", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await alice.sendBody(`{"msgid":6,"rid":"half","toid":${bob.id},"msg":"\\ud83d","cid":"half"}`);
  const ack = await alice.next((m) => m.rid === "half");
  assert(ack.errno === Errno.OK || ack.errno === Errno.BAD_REQUEST);
  await alice.chat(bob.id, "after it");
  assertEquals((await bob.next((m) => m.msg === "after it")).id, alice.id);
});

test("chat: takes a cid of 1 to 64 characters", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  let seq = 0;
  for (const cid of ["1", "x".repeat(64), "😀".repeat(64), " ", "é"]) {
    assertEquals((await alice.chat(bob.id, "hi", cid)).seq, ++seq, cid);
    assertEquals((await bob.next(Msg.ONE_CHAT)).cid, cid);
  }
  for (const cid of ["", "x".repeat(65), "😀".repeat(65), 1, null, true, [], {}]) {
    const reply = await alice.request({ msgid: Msg.ONE_CHAT, toid: bob.id, msg: "hi", cid });
    assertEquals([reply.of, reply.errno], [Msg.ONE_CHAT, Errno.BAD_REQUEST], JSON.stringify(cid));
    assertStringIncludes(reply.errmsg!, "cid");
  }
});

test("chat: returns the first seq and time when a cid is repeated, and delivers once", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const first = await alice.chat(bob.id, "once", "same");
  await alice.chat(bob.id, "between");
  for (const msg of ["once", "not the same text"]) {
    const again = await alice.chat(bob.id, msg, "same");
    assertEquals([again.errno, again.seq, again.time], [Errno.OK, first.seq, first.time]);
  }
  assertEquals((await alice.chat(bob.id, "last")).seq, 3);
  assertEquals((await bob.take(3, Msg.ONE_CHAT)).map((m) => m.msg), ["once", "between", "last"]);
  assertEquals(bob.drain(), []);
  // A cid belongs to its sender: the same cid of another user is another message.
  await using carol = await newUser(server);
  assertEquals((await carol.chat(bob.id, "carol's", "same")).seq, 1);
  assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "carol's");
});

test("chat: stores one message when one segment repeats its cid many times", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const request = (rid: number) => ({ msgid: Msg.ONE_CHAT, toid: bob.id, msg: "once", cid: "same", rid });
  await alice.sendBytes(joined(...Array.from({ length: 50 }, (_, rid) => objectFrame(request(rid)))));
  const acks = await alice.take(50, Msg.ACK);
  acks.forEach((ack, rid) => assertEquals([ack.rid, ack.errno, ack.seq], [rid, Errno.OK, 1]));
  await alice.chat(bob.id, "last");
  assertEquals((await bob.take(2, Msg.ONE_CHAT)).map((m) => m.msg), ["once", "last"]);
});

test("chat: stores one message when its cid is repeated after a reconnect", async (server) => {
  await using bob = await newUser(server);
  const alice = await newUser(server);
  const first = await alice.chat(bob.id, "once", "kept");
  await alice.close();
  await using again = await login(server, { id: alice.id });
  const repeat = await again.chat(bob.id, "once", "kept");
  assertEquals([repeat.errno, repeat.seq, repeat.time], [Errno.OK, first.seq, first.time]);
});

test("chat: acknowledges and delivers 500 messages of one write in order", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const requests = Array.from({ length: 500 }, (_, at) => (
    { msgid: Msg.ONE_CHAT, toid: bob.id, msg: `message ${at}`, cid: `${at}`, rid: at }
  ));
  await alice.sendBytes(joined(...requests.map(objectFrame)));
  const acks = await alice.take(500, Msg.ACK);
  acks.forEach((ack, at) => assertEquals([ack.rid, ack.errno, ack.seq], [at, Errno.OK, at + 1]));
  const chats = await bob.take(500, Msg.ONE_CHAT);
  chats.forEach((chat, at) => assertEquals([chat.seq, chat.msg], [at + 1, `message ${at}`]));
});

test("chat: replies in the order of the requests when a slow one precedes quick ones", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const requests = Array.from({ length: 20 }, (_, at) => [
    { msgid: Msg.ONE_CHAT, toid: bob.id, msg: "hi", cid: `${at}` },
    { msgid: Msg.PING },
    { msgid: 99 },
    { msgid: Msg.HISTORY, id: bob.id, limit: 5 },
    { msgid: Msg.ONE_CHAT, toid: MAX_INTEGER, msg: "hi", cid: `${at} to nobody` },
    { msgid: Msg.REGISTER, name: freshName(), password: "a hash to make" },
    { msgid: Msg.ONE_CHAT, toid: "wrong" },
    { msgid: Msg.CONTACTS },
    { msgid: Msg.ADD_FRIEND, friendid: bob.id },
    { msgid: Msg.DELIVERED, id: bob.id, seq: 1 },
  ]).flat().map((request, rid) => ({ ...request, rid }));
  await alice.sendBytes(joined(...requests.map(objectFrame)));
  const expected = requests.filter((request) => request.msgid !== Msg.DELIVERED).map((request) =>
    request.rid
  );
  const replies = await alice.take(expected.length, (m) => m.rid !== undefined);
  assertEquals(replies.map((reply) => reply.rid), expected);
});

test("chat: delivers two conversations at full speed without mixing them", async (server) => {
  const users = await Promise.all(Array.from({ length: 6 }, () => newUser(server)));
  const count = 100;
  await Promise.all(
    users.map((sender) =>
      Promise.all(
        users.filter((user) => user !== sender).map(async (to) => {
          for (let at = 0; at < count; at++) {
            await sender.chat(to.id, `${sender.id} ${to.id} ${at}`);
          }
        }),
      )
    ),
  );
  for (const user of users) {
    const got = await user.take(count * (users.length - 1), Msg.ONE_CHAT);
    for (const sender of users.filter((sender) => sender !== user)) {
      const theirs = got.filter((m) => m.id === sender.id);
      assertEquals(theirs.map((m) => m.msg), theirs.map((_, at) => `${sender.id} ${user.id} ${at}`));
      assertEquals(theirs.length, count);
      assert(theirs.every((m, at) => at === 0 || m.seq! > theirs[at - 1]!.seq!), "in seq order");
    }
    assertEquals(user.drain(), []);
    await user.close();
  }
});

test("chat: takes a message for an offline user, and refuses one for an unknown user", async (server) => {
  await using alice = await newUser(server);
  const absent = await register(server);
  assertEquals((await alice.chat(absent, "later")).errno, Errno.OK);
  const reply = await alice.chat(MAX_INTEGER, "nobody");
  assertEquals([reply.of, reply.errno, reply.seq], [Msg.ONE_CHAT, Errno.NOT_FOUND, undefined]);
  assert(reply.errmsg);
});
