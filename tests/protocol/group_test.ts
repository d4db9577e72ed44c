/** Groups: creation, joining, messages and members. */
import { assert, assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, MAX_INTEGER, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName, login, newGroup, newUser, register } from "../harness/framed_client.ts";
import { serverTest, sharedServer } from "../harness/server.ts";

const test = sharedServer();

test("group: is created, joined and listed with its creator first", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const made = await bob.request({ msgid: Msg.CREATE_GROUP, groupname: "climbers", groupdesc: "up é😀" });
  assertEquals([made.msgid, made.of, made.errno], [Msg.ACK, Msg.CREATE_GROUP, Errno.OK]);
  const groupid = made.groupid!;
  assert(Number.isInteger(groupid) && groupid > 0 && groupid <= MAX_INTEGER);
  const joined = await alice.request({ msgid: Msg.ADD_GROUP, groupid });
  assertEquals([joined.msgid, joined.of, joined.errno], [Msg.ACK, Msg.ADD_GROUP, Errno.OK]);
  const expected = [{
    id: groupid,
    groupname: "climbers",
    groupdesc: "up é😀",
    members: 2,
    users: [
      { id: bob.id, name: bob.name, state: "online", role: "creator" },
      { id: alice.id, name: alice.name, state: "online", role: "normal" },
    ],
  }];
  for (const client of [alice, bob]) {
    const contacts = await client.request({ msgid: Msg.CONTACTS });
    assertEquals([contacts.msgid, contacts.errno], [Msg.CONTACTS_ACK, Errno.OK]);
    assertEquals(contacts.groups, expected);
  }
  await alice.close();
  await using again = await login(server, { id: alice.id });
  assertEquals(again.welcome!.groups, expected);
});

test("group: takes names of 1 to 50 characters, and descriptions of up to 200", async (server) => {
  await using alice = await newUser(server);
  const make = (groupname: unknown, groupdesc: unknown = "") =>
    alice.request({ msgid: Msg.CREATE_GROUP, groupname, groupdesc });
  for (const name of ["g", "x".repeat(50), "😀".repeat(50), "a b"]) {
    assertEquals((await make(name)).errno, Errno.OK, name);
  }
  const notText = [1, null, true, [], {}];
  for (
    const name of ["", " ", "\u3000", "x".repeat(51), "😀".repeat(51), "a\nb", "\0", undefined, ...notText]
  ) {
    const reply = await make(name);
    assertEquals([reply.of, reply.errno], [Msg.CREATE_GROUP, Errno.BAD_REQUEST], JSON.stringify(name));
    assertStringIncludes(reply.errmsg!, "groupname");
  }
  for (const description of ["", "x".repeat(200), "😀".repeat(200)]) {
    assertEquals((await make(freshName("described"), description)).errno, Errno.OK);
  }
  for (const description of ["x".repeat(201), "😀".repeat(201), ...notText]) {
    const reply = await make(freshName("described"), description);
    assertEquals(reply.errno, Errno.BAD_REQUEST, JSON.stringify(description));
    assertStringIncludes(reply.errmsg!, "groupdesc");
  }
});

test("group: refuses a name that another group has, and takes one that a user has", async (server) => {
  await using alice = await newUser(server, "same name");
  await using bob = await newUser(server);
  const request = { msgid: Msg.CREATE_GROUP, groupname: "same name", groupdesc: "" };
  const replies = await Promise.all([alice.request(request), bob.request(request)]);
  assertEquals(replies.map((reply) => reply.errno).sort(), [Errno.OK, Errno.FAILED]);
  assertEquals((await bob.request(request)).errno, Errno.FAILED);
});

test("group: refuses a request to join with a text, a message by another numbering", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice);
  for (const text of [{ msg: "hello" }, { msg: "" }, { message: "hello" }]) {
    const refused = await bob.request({ msgid: Msg.ADD_GROUP, groupid, ...text });
    assertEquals([refused.of, refused.errno], [Msg.ADD_GROUP, Errno.BAD_REQUEST]);
    assertStringIncludes(refused.errmsg!, "unexpected text");
  }
  await using classic = await ClassicClient.connect(server);
  const id = await register(server);
  await classic.enter(id);
  await classic.send({ msgid: Msg.ADD_GROUP, id, groupid, msg: "hello" });
  await classic.send({ msgid: Msg.ONE_CHAT, id, toid: alice.id, msg: "after it" });
  assertEquals((await alice.next(Msg.ONE_CHAT)).msg, "after it");
  const { users } = await alice.request({ msgid: Msg.MEMBERS, groupid });
  assertEquals(users!.map(({ id }) => id), [alice.id]);
});

test("group: delivers a message to every other member with the group's own seq", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await using carol = await newUser(server);
  await using outsider = await newUser(server);
  const groupid = await newGroup(alice, [bob, carol]);
  const ack = await bob.request({ msgid: Msg.GROUP_CHAT, groupid, msg: "hello all", cid: "c1" });
  assertEquals([ack.msgid, ack.of, ack.errno, ack.seq], [Msg.ACK, Msg.GROUP_CHAT, Errno.OK, 1]);
  for (const client of [alice, carol]) {
    const { id, name, msg, time, seq, cid, ...rest } = await client.next(Msg.GROUP_CHAT);
    assertEquals(
      { id, name, groupid: rest.groupid, msg, time, seq, cid },
      { id: bob.id, name: bob.name, groupid, msg: "hello all", time: ack.time!, seq: 1, cid: "c1" },
    );
  }
  assertEquals((await alice.groupChat(groupid, "two")).seq, 2);
  assertEquals((await bob.next(Msg.GROUP_CHAT)).seq, 2, "the sender does not receive its own message");
  await outsider.settle();
  assertEquals([bob.drain(), outsider.drain()], [[], []]);
});

test("group: delivers a message once to each member when its cid is repeated", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice, [bob]);
  const first = await alice.groupChat(groupid, "once", "same");
  const again = await alice.groupChat(groupid, "once", "same");
  assertEquals([again.errno, again.seq, again.time], [Errno.OK, first.seq, first.time]);
  assertEquals((await alice.groupChat(groupid, "last")).seq, 2);
  assertEquals((await bob.take(2, Msg.GROUP_CHAT)).map((m) => m.msg), ["once", "last"]);
});

test("group: refuses messages, HISTORY and MEMBERS of users who are not members", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice);
  const requests = [
    { msgid: Msg.GROUP_CHAT, groupid, msg: "let me in", cid: "1" },
    { msgid: Msg.HISTORY, groupid, limit: 10 },
    { msgid: Msg.MEMBERS, groupid, limit: 10 },
  ];
  for (const request of requests) {
    const reply = await bob.request(request);
    assertEquals(reply.errno, Errno.FORBIDDEN, JSON.stringify(request));
    assert(reply.errmsg);
    assertEquals((await bob.request({ ...request, groupid: MAX_INTEGER })).errno, Errno.NOT_FOUND);
  }
  assertEquals((await alice.groupChat(groupid, "first")).seq, 1, "no part of it was stored");
  await bob.succeed({ msgid: Msg.ADD_GROUP, groupid });
  for (const request of requests) assertEquals((await bob.request(request)).errno, Errno.OK);
});

test("I6 group: refuses a message that names another user as its sender", async (server) => {
  await using mallory = await newUser(server);
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice, [bob, mallory]);
  const forged = { id: alice.id, name: alice.name, time: 1, seq: 5 };
  await mallory.request({ msgid: Msg.GROUP_CHAT, groupid, msg: "trust me", cid: "1", ...forged });
  await mallory.groupChat(groupid, "honestly");
  await bob.next((m) => m.msg === "honestly").then((m) => assertEquals(m.id, mallory.id));
  for (const chat of bob.drain()) assertEquals([chat.id, chat.name], [mallory.id, mallory.name]);
});

test("group: applies the limits of pair messages to texts", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice, [bob]);
  for (const msg of ["", 1, null, [], undefined]) {
    const reply = await alice.request({ msgid: Msg.GROUP_CHAT, groupid, msg, cid: "x" });
    assertEquals([reply.of, reply.errno], [Msg.GROUP_CHAT, Errno.BAD_REQUEST], JSON.stringify(msg));
  }
  for (const cid of ["", "x".repeat(65), 1, null]) {
    const reply = await alice.request({ msgid: Msg.GROUP_CHAT, groupid, msg: "hi", cid });
    assertEquals([reply.of, reply.errno], [Msg.GROUP_CHAT, Errno.BAD_REQUEST], JSON.stringify(cid));
  }
  assertEquals((await alice.groupChat(groupid, "x", "y".repeat(64))).seq, 1);
});

const MEMBERS = 120;

serverTest(
  `group: with ${MEMBERS} members lists 50, pages through all, and delivers to each`,
  {},
  async (server) => {
    // The creator's id is between those of the members, so that its first place is not by chance.
    const users: FramedClient[] = [];
    for (let at = 0; at < MEMBERS; at++) users.push(await newUser(server));
    const creator = users[MEMBERS / 2]!;
    const groupid = await newGroup(creator, users.filter((user) => user !== creator));
    const all = users.map((user) => user.id).sort((a, b) => a - b);

    await creator.close();
    await using again = await login(server, { id: creator.id });
    for (const { groups } of [again.welcome!, await users[3]!.request({ msgid: Msg.CONTACTS })]) {
      const group = groups![0]!;
      assertEquals([group.id, group.members, group.users.length], [groupid, MEMBERS, 50]);
      assertEquals([group.users[0]!.id, group.users[0]!.role], [creator.id, "creator"]);
      assertEquals(new Set(group.users.map((user) => user.id)).size, 50);
      assert(group.users.every((user, at) => all.includes(user.id) && (at === 0 || user.role === "normal")));
    }

    for (const limit of [1, 7, 50]) {
      const found: number[] = [];
      let after: number | undefined;
      while (found.length <= MEMBERS) {
        const request = { msgid: Msg.MEMBERS, groupid, limit, ...(after === undefined ? {} : { after }) };
        const page = await again.request(request);
        assertEquals([page.msgid, page.errno], [Msg.MEMBERS_ACK, Errno.OK], page.errmsg);
        if (page.users!.length === 0) break;
        assertLessOrEqual(page.users!.length, limit);
        found.push(...page.users!.map((user) => user.id));
        after = found.at(-1)!;
      }
      assertEquals(found, all, `in pages of ${limit}, by id, each one once`);
    }

    const { users: page } = await again.succeed({
      msgid: Msg.MEMBERS,
      groupid,
      after: creator.id - 1,
      limit: 2,
    });
    const next = users.find((user) => user.id === page![1]!.id)!;
    assertEquals(page, [
      { id: creator.id, name: creator.name, state: "online", role: "creator" },
      { id: next.id, name: next.name, state: "online", role: "normal" },
    ]);

    assertEquals((await again.groupChat(groupid, "to all")).errno, Errno.OK);
    for (const user of users) {
      if (user === creator) continue;
      assertEquals((await user.next(Msg.GROUP_CHAT)).msg, "to all");
      await user.close();
    }
  },
);

test("group: refuses invalid fields of MEMBERS", async (server) => {
  await using alice = await newUser(server);
  const groupid = await newGroup(alice);
  const wrong = [
    { groupid: "1" },
    { groupid: 0 },
    {},
    { groupid, after: "1" },
    { groupid, after: -1 },
    { groupid, after: 2 ** 31 },
    { groupid, limit: "5" },
    { groupid, limit: -1 },
    { groupid, limit: 1.5 },
  ];
  for (const fields of wrong) {
    const reply = await alice.request({ msgid: Msg.MEMBERS, limit: 5, ...fields });
    assertEquals([reply.msgid, reply.errno], [Msg.MEMBERS_ACK, Errno.BAD_REQUEST], JSON.stringify(fields));
  }
  const empty = await alice.succeed({ msgid: Msg.MEMBERS, groupid, after: MAX_INTEGER, limit: 5 });
  assertEquals(empty.users, []);
});

test("group: counts a member once when it joins twice", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice, [bob]);
  await bob.request({ msgid: Msg.ADD_GROUP, groupid });
  await alice.request({ msgid: Msg.ADD_GROUP, groupid });
  const { users } = await alice.succeed({ msgid: Msg.MEMBERS, groupid, limit: 10 });
  assertEquals(users!.map((user) => [user.id, user.role]), [[alice.id, "creator"], [bob.id, "normal"]]);
  await alice.groupChat(groupid, "once");
  await alice.groupChat(groupid, "last");
  assertEquals((await bob.take(2, Msg.GROUP_CHAT)).map((m) => m.msg), ["once", "last"]);
});
