/** Registration, login with password and token, logout. */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { Errno, MAX_INTEGER, Msg, type Sent } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { serverTest, sharedServer } from "../harness/server.ts";

const test = sharedServer();

test("register: gives an id when the account is new, and login takes the id or the name", async (server) => {
  await using client = await FramedClient.connect(server);
  const reply = await client.request({ msgid: Msg.REGISTER, name: "zhang san 张三", password: "a password" });
  assertEquals([reply.msgid, reply.errno], [Msg.REGISTER_ACK, Errno.OK]);
  const id = reply.id!;
  assert(Number.isInteger(id) && id > 0 && id <= MAX_INTEGER);
  for (const who of [{ id }, { name: "zhang san 张三" }]) {
    const ack = await client.request({ msgid: Msg.LOGIN, ...who, password: "a password" });
    assertEquals([ack.msgid, ack.errno, ack.id, ack.name], [Msg.LOGIN_ACK, Errno.OK, id, "zhang san 张三"]);
    assert(typeof ack.token === "string" && ack.token.length > 0);
    assertEquals([ack.friends, ack.groups], [[], []]);
    await client.succeed({ msgid: Msg.LOGOUT });
  }
});

test("register: gives different ids", async (server) => {
  await using client = await FramedClient.connect(server);
  const ids = await Promise.all(Array.from({ length: 20 }, () => client.register(freshName())));
  assertEquals(new Set(ids).size, 20);
});

test("register: refuses a name that is in use, also when two ask at once", async (server) => {
  await register(server, "taken");
  await using one = await FramedClient.connect(server);
  await using two = await FramedClient.connect(server);
  const ask = (client: FramedClient, name: string) =>
    client.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
  const reply = await ask(one, "taken");
  assertEquals([reply.msgid, reply.errno], [Msg.REGISTER_ACK, Errno.FAILED]);
  assert(reply.errmsg);
  for (let round = 0; round < 10; round++) {
    const replies = await Promise.all([ask(one, `race ${round}`), ask(two, `race ${round}`)]);
    assertEquals(replies.map((r) => r.errno).sort(), [Errno.OK, Errno.FAILED]);
  }
});

const goodNames = [
  "a",
  "x".repeat(50),
  "😀".repeat(50),
  "中".repeat(50),
  "a b",
  "\u00e9",
  "O'Neill; DROP TABLE User;--",
];
const badNames = [
  "",
  " ",
  "\t",
  "  \u3000",
  "x".repeat(51),
  "😀".repeat(51),
  "a\0b",
  "a\nb",
  "\u001b[2J",
  "a\u007f",
  "\u0085",
];
const notText = [undefined, null, 1, true, [], {}, ["a"]];

test("register: takes names of 1 to 50 characters without control characters", async (server) => {
  await using client = await FramedClient.connect(server);
  for (const name of goodNames) {
    const id = await client.register(name);
    const ack = await client.login({ id });
    assertEquals(ack.name, name);
    await client.succeed({ msgid: Msg.LOGOUT });
    assertEquals((await client.login({ name })).id, id);
    await client.succeed({ msgid: Msg.LOGOUT });
  }
  for (const name of [...badNames, ...notText]) {
    const reply = await client.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
    assertEquals([reply.msgid, reply.errno], [Msg.REGISTER_ACK, Errno.BAD_REQUEST], JSON.stringify(name));
    assertStringIncludes(reply.errmsg!, "name");
  }
});

test("register: stores a name in one form, and login takes every form of it", async (server) => {
  await using client = await FramedClient.connect(server);
  for (
    const [given, kept] of [["re\u0301ne\u0301", "r\u00e9n\u00e9"], [
      "\uff42\uff4f\uff42\u3000\uff11",
      "bob 1",
    ], ["e\u0301".repeat(50), "\u00e9".repeat(50)]] as const
  ) {
    const id = await client.register(given);
    for (const name of [given, kept]) {
      const ack = await client.login({ name });
      assertEquals([ack.id, ack.name], [id, kept]);
      await client.succeed({ msgid: Msg.LOGOUT });
      const again = await client.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
      assertEquals([again.errno, again.errmsg], [Errno.FAILED, `the name "${kept}" is taken`]);
    }
  }
});

test("register: refuses look-alike and invisible names with the reason", async (server) => {
  await using client = await newUser(server);
  await using unauthenticated = await FramedClient.connect(server);
  for (
    const [name, reason] of [
      ["al\u200bice", "cannot be seen: U+200B"],
      ["\u3164", "cannot be seen: U+3164"],
      ["\u200b", "cannot be seen: U+200B"],
      ["\ue000", "private use: U+E000"],
      ["\u0430lice", "mixes letters of scripts"],
      [" alice", "a space at its beginning or end"],
    ] as const
  ) {
    const user = await unauthenticated.request({ msgid: Msg.REGISTER, name, password: PASSWORD });
    assertEquals([user.msgid, user.errno], [Msg.REGISTER_ACK, Errno.BAD_REQUEST], name);
    assertStringIncludes(user.errmsg!, reason);
    const group = await client.request({ msgid: Msg.CREATE_GROUP, groupname: name });
    assertEquals([group.of, group.errno], [Msg.CREATE_GROUP, Errno.BAD_REQUEST], name);
    assertStringIncludes(group.errmsg!, "groupname");
    assertStringIncludes(group.errmsg!, reason);
  }
});

serverTest("register: takes names of mixed scripts when configured, and invisible characters never", {
  args: ["--confusable-names", "allow"],
}, async (server) => {
  await using client = await FramedClient.connect(server);
  await client.register("\u0430lice");
  const reply = await client.request({ msgid: Msg.REGISTER, name: "al\u00adice", password: PASSWORD });
  assertEquals(reply.errno, Errno.BAD_REQUEST);
});

serverTest("register: takes passwords of 1 to 128 characters, all of which count", {
  args: ["--min-password", "1", "--common-passwords", "allow"],
}, async (server) => {
  await using client = await FramedClient.connect(server);
  for (const password of ["x", "x".repeat(128), "😀".repeat(128), "a\0b", " "]) {
    const id = await client.register(freshName(), password);
    const wrong = await client.request({
      msgid: Msg.LOGIN,
      id,
      password: [...password].with(-1, "?").join(""),
    });
    assertEquals(wrong.errno, Errno.FAILED);
    assertEquals((await client.request({ msgid: Msg.LOGIN, id, password })).errno, Errno.OK);
    await client.succeed({ msgid: Msg.LOGOUT });
  }
  const nul = await client.register(freshName(), "a\0b");
  assertEquals((await client.request({ msgid: Msg.LOGIN, id: nul, password: "a\0c" })).errno, Errno.FAILED);
  for (const password of ["", "x".repeat(129), "😀".repeat(129), ...notText]) {
    const reply = await client.request({ msgid: Msg.REGISTER, name: freshName(), password });
    assertEquals([reply.msgid, reply.errno], [Msg.REGISTER_ACK, Errno.BAD_REQUEST], JSON.stringify(password));
    assertStringIncludes(reply.errmsg!, "password");
  }
});

test("login: refuses fields that are missing or invalid", async (server) => {
  await using client = await FramedClient.connect(server);
  const bad: Sent[] = [
    {},
    { id: 1 },
    { name: "a" },
    { password: PASSWORD },
    ...["1", 0, -1, 1.5, 2 ** 31, null, true, []].map((id) => ({ id, password: PASSWORD })),
    ...[1, "", "x".repeat(51), null, []].map((name) => ({ name, password: PASSWORD })),
    ...[1, null, [], {}].map((password) => ({ id: 1, password })),
    ...[1, null, [], {}].map((token) => ({ token })),
    ...[1, "yes", null].map((force) => ({ id: 1, password: PASSWORD, force })),
  ];
  for (const fields of bad) {
    const reply = await client.request({ msgid: Msg.LOGIN, ...fields });
    assertEquals([reply.msgid, reply.errno], [Msg.LOGIN_ACK, Errno.BAD_REQUEST], JSON.stringify(fields));
    assert(reply.errmsg);
  }
});

test("login: gives a wrong password and an unknown user the same reply", async (server) => {
  const id = await register(server, "somebody");
  await using client = await FramedClient.connect(server);
  const attempts = [
    { id, password: "wrong" },
    { name: "somebody", password: "wrong" },
    { id: MAX_INTEGER, password: PASSWORD },
    { name: "nobody", password: PASSWORD },
  ];
  const [first, ...others] = await Promise.all(
    attempts.map((fields) => client.request({ msgid: Msg.LOGIN, ...fields })),
  );
  assertEquals([first!.msgid, first!.errno], [Msg.LOGIN_ACK, Errno.FAILED]);
  for (const other of others) assertEquals({ ...other, rid: 0 }, { ...first, rid: 0 });
  assertEquals((await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD })).errno, Errno.OK);
});

// High enough for the hash to dominate the time, and low enough for ten hashes.
serverTest(
  "login: takes as long for an unknown user as for a wrong password",
  { args: ["--argon2-passes", "2"] },
  async (server) => {
    const id = await register(server);
    await using client = await FramedClient.connect(server);
    const whos: Sent[] = [{ id }, { id: MAX_INTEGER }, { name: "unknown" }];
    const quickest = whos.map(() => Infinity);
    // alternating, so that a busy moment of the machine affects both
    for (let round = 0; round < 10; round++) {
      for (const [i, who] of whos.entries()) {
        const start = performance.now();
        const reply = await client.request({ msgid: Msg.LOGIN, ...who, password: "wrong" });
        quickest[i] = Math.min(quickest[i]!, performance.now() - start);
        assertEquals(reply.errno, Errno.FAILED);
      }
    }
    const [wrong, ...unknown] = quickest as [number, ...number[]];
    for (const time of unknown) {
      assertGreaterOrEqual(time, wrong / 2, `unknown ${time} ms, wrong password ${wrong} ms`);
      assertGreaterOrEqual(wrong, time / 2, `unknown ${time} ms, wrong password ${wrong} ms`);
    }
  },
);

test("login: takes a token in place of the password on another connection", async (server) => {
  const first = await newUser(server);
  const { id, name, token } = first;
  await first.close();
  await using second = await login(server, { token });
  assertEquals([second.id, second.name], [id, name]);
  assert(second.token);
  await second.close();
  await using third = await login(server, { token: second.token });
  assertEquals(third.id, id);
});

test("login: refuses an invalid token", async (server) => {
  await using user = await newUser(server);
  const { token } = user;
  await user.close();
  await using client = await FramedClient.connect(server);
  const last = token.at(-1) === "A" ? "B" : "A";
  const flipped = token.slice(0, token.length >> 1) + last + token.slice((token.length >> 1) + 1);
  for (
    const wrong of [
      `${token}A`,
      token.slice(0, -1),
      "x",
      " ",
      token.toUpperCase() + "é",
      "1.",
      flipped,
      "9".repeat(500),
    ]
  ) {
    if (wrong === token) continue;
    const reply = await client.request({ msgid: Msg.LOGIN, token: wrong });
    assertEquals(reply.msgid, Msg.LOGIN_ACK);
    assert(reply.errno === Errno.FAILED || reply.errno === Errno.BAD_REQUEST, `${wrong}: ${reply.errno}`);
  }
});

test("logout: ends the session and its token, and permits another login", async (server) => {
  await using friend = await newUser(server);
  await using client = await newUser(server);
  const { id, token } = client;
  const reply = await client.request({ msgid: Msg.LOGOUT });
  assertEquals([reply.msgid, reply.of, reply.errno], [Msg.ACK, Msg.LOGOUT, Errno.OK]);
  assertEquals((await client.chat(friend.id, "hi")).errno, Errno.NOT_LOGGED_IN);
  assertEquals((await client.request({ msgid: Msg.LOGOUT })).errno, Errno.NOT_LOGGED_IN);
  assertEquals((await client.request({ msgid: Msg.LOGIN, token })).errno, Errno.FAILED);
  // After the end of the session another connection can log in.
  await using other = await FramedClient.connect(server);
  assertEquals((await other.request({ msgid: Msg.LOGIN, id, password: PASSWORD })).errno, Errno.OK);
  await other.succeed({ msgid: Msg.LOGOUT });
  assertEquals((await client.login({ id })).id, id);
  assertNotEquals(client.token, token);
  assertEquals((await client.chat(friend.id, "hi again")).errno, Errno.OK);
  // The connection can log in as another user, who is then the sender of its messages.
  await client.succeed({ msgid: Msg.LOGOUT });
  const another = await register(server, "another");
  await client.login({ id: another });
  await client.chat(friend.id, "me");
  assertEquals((await friend.next((m) => m.msg === "me")).id, another);
});
