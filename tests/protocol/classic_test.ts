/** The classic dialect, as the existing C++ clients use it. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { classicBytes, ClassicClient } from "../harness/classic_client.ts";
import { type ClassicReceived, Errno, MAX_INTEGER, Msg } from "../harness/protocol_numbers.ts";
import { login, newGroup, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { joined } from "../harness/frames.ts";
import { type Address, serverTest, sharedServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const test = sharedServer();

const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/;
const encoder = new TextEncoder();

/** Parses a list of JSON strings. */
function unpacked(list: readonly string[] | undefined): ClassicReceived[] {
  return (list ?? []).map((text) => JSON.parse(text) as ClassicReceived);
}

/** Registers a user and returns a classic client that is logged in. */
async function newClassic(server: Address): Promise<ClassicClient> {
  const id = await register(server);
  return await classicLogin(server, id);
}

/** Returns a classic client that is logged in as an existing user. */
async function classicLogin(server: Address, id: number): Promise<ClassicClient> {
  const client = await ClassicClient.connect(server);
  await client.enter(id);
  return client;
}

test("classic: registers and logs in as the C++ clients do", async (server) => {
  await using client = await ClassicClient.connect(server);
  await client.send({ msgid: Msg.REGISTER, name: "classic one", password: "1 2 3 4 5 6" });
  const registered = await client.next(() => true);
  assertEquals([registered.msgid, registered.errno], [Msg.REGISTER_ACK, Errno.OK]);
  const id = registered.id!;
  assert(Number.isInteger(id) && id > 0);
  await client.send({ msgid: Msg.REGISTER, name: "classic one", password: "1 2 3 4 5 6" });
  assertEquals((await client.next(Msg.REGISTER_ACK)).errno, Errno.FAILED);
  const wrong = await client.login(id, "wrong");
  assertEquals(wrong.errno, Errno.FAILED);
  assert(wrong.errmsg);
  assertEquals((await client.login(MAX_INTEGER)).errno, Errno.FAILED);
  const ack = await client.login(id, "1 2 3 4 5 6");
  assertEquals([ack.errno, ack.id, ack.name], [Errno.OK, id, "classic one"]);
  for (const empty of ["friends", "groups", "offlinemsg"]) assert(!(empty in ack), `${empty} is left out`);
  await using second = await ClassicClient.connect(server);
  assertEquals((await second.login(id, "1 2 3 4 5 6")).errno, Errno.ALREADY_ONLINE);
});

test("classic: encodes friends, groups and members as strings of JSON", async (server) => {
  await using friend = await newUser(server, "classic's friend");
  const first = await newClassic(server);
  await first.send({ msgid: Msg.ADD_FRIEND, id: first.id, friendid: friend.id });
  await first.send({ msgid: Msg.CREATE_GROUP, id: first.id, groupname: "old school", groupdesc: "of C++" });
  const groupid = await until(async () => {
    // Classic clients get no reply to these requests, so a framed one checks the effect.
    for (let id = 1; id <= 10; id++) {
      if ((await friend.request({ msgid: Msg.ADD_GROUP, groupid: id })).errno === Errno.OK) return id;
    }
    return undefined;
  }, "the group to be there");
  await first.close();
  await using again = await ClassicClient.connect(server);
  const ack = await again.enter(first.id);
  assert(ack.friends!.every((entry) => typeof entry === "string"));
  assertEquals(unpacked(ack.friends), [
    { id: friend.id, name: "classic's friend", state: "online" } as unknown as ClassicReceived,
  ]);
  assertEquals(ack.groups!.length, 1);
  const group = JSON.parse(ack.groups![0]!) as Record<string, unknown> & { users: string[] };
  assertEquals([group.id, group.groupname, group.groupdesc], [groupid, "old school", "of C++"]);
  const users = group.users.map((user) => JSON.parse(user) as { id: number; role: string; state: string });
  assertEquals(users.map((user) => [user.id, user.role, user.state]), [
    [first.id, "creator", "online"],
    [friend.id, "normal", "online"],
  ]);
});

test("classic: exchanges messages with framed clients in both directions", async (server) => {
  await using framed = await newUser(server);
  await using classic = await newClassic(server);
  await classic.chat(framed.id, "from classic é😀");
  const chat = await framed.next(Msg.ONE_CHAT);
  assertEquals([chat.id, chat.toid, chat.msg, chat.seq], [classic.id, framed.id, "from classic é😀", 1]);
  assert(chat.name !== "whoever", "the name is the account's");
  assert(Math.abs(chat.time! - Date.now()) < 60_000, "the time is the server's");
  assertEquals((await framed.chat(classic.id, "to classic é😀")).seq, 2);
  const got = await classic.next(Msg.ONE_CHAT);
  assertEquals([got.id, got.name, got.msg], [framed.id, framed.name, "to classic é😀"]);
  assertMatch(got.time!, TIME);
  await using other = await newClassic(server);
  await other.chat(classic.id, "among ourselves");
  const among = await classic.next(Msg.ONE_CHAT);
  assertEquals([among.id, among.msg], [other.id, "among ourselves"]);
});

test("classic: shares a group with framed clients", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newClassic(server);
  await using carol = await newClassic(server);
  const groupid = await newGroup(alice);
  for (const client of [bob, carol]) await client.send({ msgid: Msg.ADD_GROUP, id: client.id, groupid });
  await until(async () => {
    return (await alice.request({ msgid: Msg.MEMBERS, groupid, limit: 5 })).users!.length === 3;
  }, "both to be members");
  await bob.groupChat(groupid, "hello group");
  const framed = await alice.next(Msg.GROUP_CHAT);
  assertEquals([framed.id, framed.groupid, framed.msg], [bob.id, groupid, "hello group"]);
  const classic = await carol.next(Msg.GROUP_CHAT);
  assertEquals([classic.id, classic.groupid, classic.msg], [bob.id, groupid, "hello group"]);
  assert(classic.name!.length > 0);
  assertMatch(classic.time!, TIME);
  await alice.groupChat(groupid, "hello classics");
  for (const client of [bob, carol]) {
    assertEquals((await client.next(Msg.GROUP_CHAT)).msg, "hello classics");
    assertEquals(client.drain(), []);
  }
});

test("classic: reads objects however they are separated, joined and split", async (server) => {
  await using friend = await newUser(server);
  await using classic = await newClassic(server);
  const message = (msg: string) => ({ msgid: Msg.ONE_CHAT, id: classic.id, toid: friend.id, msg });
  const ends = ["\0", "", "\n", " \t\r\n ", "\0\0\0", "\0\n", ""];
  const texts = ends.map((_, at) => `} { \\ " \u0000 ${at}`);
  const all = joined(...texts.map((text, at) => classicBytes(message(text), ends[at]!)));
  await classic.sendBytes(all);
  for (const byte of all) await classic.sendBytes(Uint8Array.of(byte));
  const chats = await friend.take(2 * texts.length, Msg.ONE_CHAT);
  assertEquals(chats.map((m) => m.msg), [...texts, ...texts]);
});

test("classic: reads a login and further requests from one segment", async (server) => {
  await using friend = await newUser(server);
  const id = await register(server);
  await using classic = await ClassicClient.connect(server);
  await classic.sendBytes(joined(
    classicBytes({ msgid: Msg.LOGIN, id, password: PASSWORD }, ""),
    classicBytes({ msgid: Msg.ONE_CHAT, id, toid: friend.id, msg: "at once" }),
  ));
  assertEquals((await classic.next(Msg.LOGIN_ACK)).errno, Errno.OK);
  assertEquals((await friend.next(Msg.ONE_CHAT)).msg, "at once");
});

test("classic: refuses a request that carries another user's id", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await using mallory = await newClassic(server);
  const groupid = await newGroup(alice, [bob]);
  await mallory.send({ msgid: Msg.ADD_GROUP, id: mallory.id, groupid });
  const forged = { id: alice.id, name: alice.name, msg: "forged", time: "2020-01-01 00:00:00" };
  await mallory.send({ ...forged, msgid: Msg.ONE_CHAT, toid: bob.id });
  await mallory.send({ ...forged, msgid: Msg.GROUP_CHAT, groupid });
  await mallory.send({ msgid: Msg.ADD_FRIEND, id: alice.id, friendid: bob.id });
  await mallory.send({ msgid: Msg.CREATE_GROUP, id: alice.id, groupname: "forged", groupdesc: "" });
  await mallory.send({ msgid: Msg.LOGOUT, id: alice.id });
  await mallory.chat(bob.id, "honest", alice.name);
  const chat = await bob.next(() => true);
  assertEquals([chat.msgid, chat.id, chat.msg], [Msg.ONE_CHAT, mallory.id, "honest"]);
  assert(chat.name !== alice.name);
  assertEquals(bob.drain(), []);
  assertEquals((await alice.groupChat(groupid, "mine")).seq, 1, "no forged message precedes it");
  const { friends, groups } = await alice.succeed({ msgid: Msg.CONTACTS });
  assertEquals([friends!.length, groups!.length], [0, 1]);
});

test("classic: releases the account at logout, and permits another login", async (server) => {
  await using friend = await newUser(server);
  await using classic = await newClassic(server);
  const { id } = classic;
  await classic.send({ msgid: Msg.LOGOUT, id });
  await using other = await login(server, { id });
  await other.succeed({ msgid: Msg.LOGOUT });
  await classic.enter(id);
  await classic.chat(friend.id, "back again");
  assertEquals((await friend.next(Msg.ONE_CHAT)).id, id);
});

test("classic: puts the backlog into the login reply once, oldest first", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  const groupid = await newGroup(alice);
  await using member = await login(server, { id });
  await member.succeed({ msgid: Msg.ADD_GROUP, groupid });
  await member.close();
  await alice.chat(id, "one é😀");
  await alice.chat(id, "two");
  await alice.groupChat(groupid, "to the group");
  const classic = await ClassicClient.connect(server);
  const ack = await classic.enter(id);
  const missed = unpacked(ack.offlinemsg);
  const chats = missed.filter((m) => m.msgid === Msg.ONE_CHAT);
  assertEquals(chats.map((m) => [m.id, m.name, m.msg]), [
    [alice.id, alice.name, "one é😀"],
    [alice.id, alice.name, "two"],
  ]);
  const groupChats = missed.filter((m) => m.msgid === Msg.GROUP_CHAT);
  assertEquals(groupChats.map((m) => [m.id, m.name, m.groupid, m.msg]), [
    [alice.id, alice.name, groupid, "to the group"],
  ]);
  for (const { time } of missed) assertMatch(time!, TIME);
  await classic.close();
  // The socket has taken the messages, so they count as delivered and no later login repeats them.
  await using again = await classicLogin(server, id);
  await alice.chat(id, "three");
  assertEquals((await again.next(() => true)).msg, "three");
  await again.close();
  await using framed = await login(server, { id });
  await alice.chat(id, "four");
  assertEquals((await framed.next(Msg.ONE_CHAT)).msg, "four");
});

test("classic: skips bytes that are no valid request, and goes on", async (server) => {
  await using friend = await newUser(server);
  await using classic = await newClassic(server);
  const wrongs = [
    '{"msgid":6,"toid":\0',
    "garbage\0",
    "{}\0",
    '{"msgid":"6"}\0',
    `{"msgid":99,"id":${classic.id}}\0`,
    `{"msgid":6,"id":${classic.id},"toid":"${friend.id}","msg":"wrong type"}\0`,
    `{"msgid":6,"id":${classic.id},"toid":${MAX_INTEGER},"msg":"nobody"}\0`,
    `{"msgid":10,"id":${classic.id},"groupid":${MAX_INTEGER},"msg":"no group"}\0`,
    `{"msgid":6,"id":${classic.id},"toid":${friend.id},"msg":""}\0`,
    `{"msgid":7,"id":${classic.id},"friendid":${MAX_INTEGER}}\0`,
  ];
  for (const wrong of wrongs) await classic.sendBytes(encoder.encode(wrong));
  await classic.chat(friend.id, "still here");
  assertEquals((await friend.next(Msg.ONE_CHAT)).msg, "still here");
  assertEquals(friend.drain(), []);
});

test("classic: closes the connection when an object exceeds the maximum, complete or not", async (server) => {
  for (
    const text of [
      `{"msgid":24,"pad":"${"x".repeat(70_000)}"}`,
      "{".repeat(70_000),
      `{"${"x".repeat(70_000)}`,
    ]
  ) {
    await using classic = await ClassicClient.connect(server);
    // the server may close the connection before it has read everything
    await classic.sendBytes(encoder.encode(text)).catch(() => {});
    await classic.serverCloses();
    assertEquals(classic.drain(), []);
  }
});

serverTest(
  "classic: sends no message kinds but 2, 5, 6 and 10",
  { args: ["--ping-interval", "200ms"] },
  async (server) => {
    await using friend = await newUser(server);
    await using classic = await newClassic(server);
    const { id } = classic;
    await classic.send({ msgid: Msg.ADD_FRIEND, id, friendid: friend.id });
    const requests = [
      Msg.HISTORY,
      Msg.PING,
      Msg.PONG,
      Msg.CONTACTS,
      Msg.MEMBERS,
      Msg.DELIVERED,
      Msg.NOTICE,
      99,
    ];
    for (const msgid of requests) {
      await classic.send({
        msgid,
        id,
        rid: 1,
        groupid: 1,
        friendid: 1,
        limit: 1,
      });
    }
    await classic.send({ msgid: Msg.CREATE_GROUP, id, groupname: "quiet", groupdesc: "" });
    await classic.chat(friend.id, "hi");
    await classic.chat(MAX_INTEGER, "nobody");
    await friend.next(Msg.ONE_CHAT);
    await friend.close(); // changes presence, which classic clients are not sent
    await using other = await newUser(server);
    // A framed client would have been sent PING in this time.
    await until(() => other.pings >= 2, "some time to pass");
    await using taker = await ClassicClient.connect(server);
    await taker.login(id);
    server.kill("SIGTERM");
    assertEquals(await server.wait(), 0);
    await classic.serverCloses();
    const sent = [...classic.drain(), ...taker.drain()].map((arrival) => arrival.message.msgid);
    const allowed: number[] = [Msg.LOGIN_ACK, Msg.REGISTER_ACK, Msg.ONE_CHAT, Msg.GROUP_CHAT];
    assertEquals(sent.filter((msgid) => !allowed.includes(msgid)), []);
  },
);
