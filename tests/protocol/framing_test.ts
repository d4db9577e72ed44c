/** The bytes of the framed dialect: frames split at any position, and invalid messages. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { Errno, MAX_FRAME, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { frame, joined, objectFrame } from "../harness/frames.ts";
import { serverTest, sharedServer } from "../harness/server.ts";

const test = sharedServer();

/** Returns a PING of exactly `bytes` bytes. */
function pingOf(bytes: number, rid: number): string {
  const empty = JSON.stringify({ msgid: Msg.PING, rid, pad: "" });
  return JSON.stringify({ msgid: Msg.PING, rid, pad: "x".repeat(bytes - empty.length) });
}

/** Asserts that this is the only reply to an invalid message, and that the connection goes on. */
async function assertBadRequest(client: FramedClient): Promise<Received> {
  const reply = await client.next((m) => m.errno !== undefined);
  assertEquals([reply.msgid, reply.errno], [Msg.ACK, Errno.BAD_REQUEST], JSON.stringify(reply));
  assert(reply.errmsg, "the reply has a text");
  await client.settle();
  assertEquals(client.drain(), [], "exactly one reply");
  return reply;
}

test("framing: reads a request that arrives a byte at a time", async (server) => {
  const name = "byte by byte é😀";
  await register(server, name);
  await using client = await FramedClient.connect(server);
  for (const byte of objectFrame({ msgid: Msg.LOGIN, name, password: PASSWORD, rid: "é" })) {
    await client.sendBytes(Uint8Array.of(byte));
  }
  const reply = await client.next(Msg.LOGIN_ACK);
  assertEquals([reply.errno, reply.name, reply.rid], [Errno.OK, name, "é"]);
});

test("framing: reads two requests that are split at any position", async (server) => {
  await using client = await FramedClient.connect(server);
  const bytes = joined(
    objectFrame({ msgid: Msg.PING, rid: "é😀" }),
    objectFrame({ msgid: Msg.PING, rid: 2 }),
  );
  for (let at = 0; at <= bytes.length; at++) {
    await client.sendBytes(bytes.subarray(0, at));
    await client.sendBytes(bytes.subarray(at));
    const replies = await client.take(2, Msg.PONG);
    assertEquals(replies.map((reply) => reply.rid), ["é😀", 2], `cut at ${at}`);
  }
});

test("framing: replies once and in order to many requests in one segment", async (server) => {
  await using client = await FramedClient.connect(server);
  const rids = Array.from({ length: 300 }, (_, at) => at);
  await client.sendBytes(joined(...rids.map((rid) => objectFrame({ msgid: Msg.PING, rid }))));
  assertEquals((await client.take(rids.length, Msg.PONG)).map((reply) => reply.rid), rids);
  await client.settle();
  assertEquals(client.drain(), []);
});

test("framing: takes a frame of exactly the maximum", async (server) => {
  await using client = await FramedClient.connect(server);
  await client.sendBody(pingOf(MAX_FRAME, 1));
  assertEquals((await client.next(Msg.PONG)).rid, 1);
});

test("framing: replies to a frame of one byte more and closes the connection", async (server) => {
  await using client = await FramedClient.connect(server);
  await client.sendBody(pingOf(MAX_FRAME + 1, 1));
  const reply = await client.next((m) => m.errno !== undefined);
  assertEquals([reply.msgid, reply.errno], [Msg.ACK, Errno.TOO_LARGE]);
  await client.serverCloses();
});

test("framing: replies to a length over the maximum before its bytes arrive", async (server) => {
  await using client = await FramedClient.connect(server);
  const ping = objectFrame({ msgid: Msg.PING, rid: 1 });
  await client.sendBytes(joined(ping, frame("", 0x70_00_00_00), ping));
  assertEquals((await client.next(() => true)).msgid, Msg.PONG);
  assertEquals((await client.next(() => true)).errno, Errno.TOO_LARGE);
  await client.serverCloses();
  assertEquals(client.drain(), [], "bytes after the header are not read");
});

test("framing: refuses every length over the maximum", async (server) => {
  for (const length of [MAX_FRAME + 1, 0x7a_ff_ff_ff, 0x7c_00_00_00, 0x80_00_00_00, 0xff_ff_ff_ff]) {
    await using client = await FramedClient.connect(server);
    await client.sendBytes(frame("", length));
    assertEquals((await client.next(() => true)).errno, Errno.TOO_LARGE, `length ${length}`);
    await client.serverCloses();
  }
});

serverTest("framing: takes the configured maximum", { args: ["--max-frame", "2000"] }, async (server) => {
  await using client = await FramedClient.connect(server);
  await client.sendBody(pingOf(2_000, 1));
  assertEquals((await client.next(Msg.PONG)).rid, 1);
  await client.sendBody(pingOf(2_001, 2));
  assertEquals((await client.next((m) => m.errno !== undefined)).errno, Errno.TOO_LARGE);
  await client.serverCloses();
});

const notMessages: Readonly<Record<string, string | Uint8Array>> = {
  "no bytes": "",
  "one byte": "{",
  "no JSON": "hello, is anybody there?",
  "half an object": '{"msgid":24',
  "two objects": '{"msgid":24}{"msgid":24}',
  "something behind it": '{"msgid":24} x',
  "an array": '[{"msgid":24}]',
  "a number": "24",
  "a string": '"24"',
  "null": "null",
  "an empty object": "{}",
  "a byte that is not UTF-8": Uint8Array.from([
    ...new TextEncoder().encode('{"msgid":24,"x":"'),
    0xff,
    0x22,
    0x7d,
  ]),
  "a surrogate as UTF-8": Uint8Array.of(0xed, 0xa0, 0x80),
  "an overlong NUL": Uint8Array.of(0xc0, 0x80),
  "NUL bytes": new Uint8Array(100),
  "very deep JSON": "[".repeat(MAX_FRAME),
  "a msgid that is a string": '{"msgid":"24"}',
  "a msgid that is no integer": '{"msgid":24.5}',
  "a msgid that is null": '{"msgid":null}',
  "a msgid that is an array": '{"msgid":[24]}',
  "a msgid that is an object": '{"msgid":{}}',
  "a msgid that is huge": '{"msgid":1e300}',
  "a msgid in __proto__ only": '{"__proto__":{"msgid":24}}',
};

for (const [what, body] of Object.entries(notMessages)) {
  test(`framing: refuses a frame with ${what}, and goes on`, async (server) => {
    await using client = await FramedClient.connect(server);
    await client.sendBody(body);
    await assertBadRequest(client);
  });
}

test("framing: refuses a msgid that clients may not send, and names it", async (server) => {
  await using client = await newUser(server);
  const unknown = [0, -1, 11, 12, 19, 32, 99, 2 ** 31, -(2 ** 31), 1_000_000];
  const serversOwn = [Msg.LOGIN_ACK, Msg.REGISTER_ACK, Msg.ACK, Msg.HISTORY_ACK, Msg.PRESENCE, Msg.NOTICE];
  for (const msgid of [...unknown, ...serversOwn, Msg.CONTACTS_ACK, Msg.MEMBERS_ACK]) {
    const reply = await client.request({ msgid });
    assertEquals([reply.msgid, reply.of, reply.errno], [Msg.ACK, msgid, Errno.BAD_REQUEST], `msgid ${msgid}`);
    assert(reply.errmsg);
  }
});

test("framing: puts the rid into an error about a whole message", async (server) => {
  await using client = await FramedClient.connect(server);
  await client.sendBody('{"rid":"mine"}');
  assertEquals((await assertBadRequest(client)).rid, "mine");
});

test("framing: returns a numeric rid digit by digit", async (server) => {
  await using raw = await Deno.connect({ hostname: server.host, port: server.port });
  for (const rid of ["9223372036854775807", "-1152921504606846977", "0.1000000000000000055", "1e21"]) {
    await raw.write(frame(`{"rid":"twice","nested":{"rid":5},"msgid":24,"rid":${rid}}`));
    const reply = new Uint8Array(1_024);
    const body = new TextDecoder().decode(reply.subarray(4, (await raw.read(reply))!));
    assertEquals(body, `{"msgid":25,"errno":0,"rid":${rid}}`);
  }
});

test("framing: returns a rid unchanged, also when it is repeated", async (server) => {
  await using client = await FramedClient.connect(server);
  const rids = [
    0,
    1,
    1,
    -1,
    1.5,
    2 ** 53,
    "",
    "a",
    "a",
    "1",
    "é😀",
    "\0\u001b",
    "__proto__",
    "x".repeat(10_000),
  ];
  for (const rid of rids) {
    await client.send({ msgid: Msg.PING, rid });
    await client.send({ msgid: 99, rid });
    assertEquals((await client.next(Msg.PONG)).rid, rid);
    assertEquals((await client.next(Msg.ACK)).rid, rid);
  }
});

test("framing: sends no rid when the request has none", async (server) => {
  await using client = await FramedClient.connect(server);
  await client.send({ msgid: Msg.PING });
  assert(!("rid" in await client.next(Msg.PONG)));
});

test("framing: refuses a rid that is neither number nor string", async (server) => {
  await using client = await FramedClient.connect(server);
  for (const rid of [null, true, [], {}]) {
    await client.send({ msgid: Msg.PING, rid });
    const reply = await client.next((m) => m.errno === Errno.BAD_REQUEST);
    assert(!("rid" in reply));
    assertStringIncludes(reply.errmsg!, "rid");
  }
});

test("framing: sends one reply when a key is repeated", async (server) => {
  await using client = await FramedClient.connect(server);
  await client.sendBody('{"msgid":99,"rid":1,"msgid":24,"rid":2}');
  const reply = await client.next(() => true);
  assertEquals([reply.msgid, reply.rid], [Msg.PONG, 2], "the last, as JSON parsers have it");
  await client.settle();
  assertEquals(client.drain(), []);
});

test("framing: ignores deep JSON in an unknown field", async (server) => {
  await using client = await FramedClient.connect(server);
  for (const depth of [1_000, 10_000, 30_000]) {
    await client.sendBody(`{"msgid":24,"rid":1,"x":${"[".repeat(depth)}${"]".repeat(depth)}}`);
    const reply = await client.next(() => true);
    assert(reply.msgid === Msg.PONG || reply.errno === Errno.BAD_REQUEST);
    await client.settle();
    assertEquals(client.drain(), []);
  }
});

test("framing: refuses deep JSON in a known field", async (server) => {
  await using client = await newUser(server);
  const deep = `${"[".repeat(10_000)}${"]".repeat(10_000)}`;
  await client.sendBody(`{"msgid":6,"rid":"deep","toid":${deep},"msg":${deep},"cid":${deep}}`);
  const reply = await client.next((m) => m.rid === "deep");
  assertEquals([reply.msgid, reply.of, reply.errno], [Msg.ACK, Msg.ONE_CHAT, Errno.BAD_REQUEST]);
});

test("framing: ignores fields named __proto__ and constructor", async (server) => {
  const name = "has a prototype";
  await register(server, name);
  await using client = await FramedClient.connect(server);
  const proto = JSON.stringify({ name, password: PASSWORD });
  await client.sendBody(`{"msgid":1,"rid":"p","__proto__":${proto},"constructor":{"prototype":${proto}}}`);
  const reply = await client.next((m) => m.rid === "p");
  assertEquals([reply.msgid, reply.errno], [Msg.LOGIN_ACK, Errno.BAD_REQUEST]);
  assertEquals((await client.request({ msgid: Msg.CONTACTS })).errno, Errno.NOT_LOGGED_IN);
});

test("framing: takes user names that equal built-in properties", async (server) => {
  const ids = new Set<number>();
  for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    await using user = await newUser(server, name);
    await using other = await newUser(server);
    const ack = await other.chat(user.id, name, name);
    assertEquals([ack.errno, ack.seq], [Errno.OK, 1]);
    const chat = await user.next(Msg.ONE_CHAT);
    assertEquals([chat.msg, chat.cid, user.name], [name, name, name]);
    ids.add(user.id);
  }
  assertEquals(ids.size, 4);
});

test("framing: takes white space around an object and unknown fields", async (server) => {
  await using client = await FramedClient.connect(server);
  await client.sendBody(' \t\r\n{ "msgid" : 24 , "rid" : 1 , "what" : { "is" : [ "this" ] } } \n');
  assertEquals((await client.next(Msg.PONG)).rid, 1);
});

test("framing: replies to requests that precede the end of the stream", async (server) => {
  const [id, toid] = [await register(server), await register(server)];
  await using client = await FramedClient.connect(server);
  const chats = Array.from({ length: 100 }, (_, at) => (
    objectFrame({ msgid: Msg.ONE_CHAT, toid, msg: "hi", cid: `${at}` })
  ));
  await client.sendBytes(joined(objectFrame({ msgid: Msg.LOGIN, id, password: PASSWORD }), ...chats));
  await client.endWriting();
  assertEquals((await client.next(Msg.LOGIN_ACK)).errno, Errno.OK);
  const acks = await client.take(chats.length, Msg.ACK);
  assertEquals(acks.map((ack) => ack.seq), chats.map((_, at) => at + 1));
  await client.serverCloses();
});

test("framing: refuses requests that need a login before one", async (server) => {
  await using client = await FramedClient.connect(server);
  const requests = [
    [{ msgid: Msg.LOGOUT }, Msg.ACK],
    [{ msgid: Msg.ONE_CHAT, toid: 1, msg: "hi", cid: "1" }, Msg.ACK],
    [{ msgid: Msg.ADD_FRIEND, friendid: 1 }, Msg.ACK],
    [{ msgid: Msg.CREATE_GROUP, groupname: "not yet", groupdesc: "" }, Msg.ACK],
    [{ msgid: Msg.ADD_GROUP, groupid: 1 }, Msg.ACK],
    [{ msgid: Msg.GROUP_CHAT, groupid: 1, msg: "hi", cid: "2" }, Msg.ACK],
    [{ msgid: Msg.HISTORY, id: 1, limit: 1 }, Msg.HISTORY_ACK],
    [{ msgid: Msg.CONTACTS }, Msg.CONTACTS_ACK],
    [{ msgid: Msg.MEMBERS, groupid: 1, limit: 1 }, Msg.MEMBERS_ACK],
  ] as const;
  for (const [request, answer] of requests) {
    const reply = await client.request(request);
    assertEquals([reply.msgid, reply.errno], [answer, Errno.NOT_LOGGED_IN], JSON.stringify(request));
    assertNotEquals(reply.errmsg ?? "", "");
    if (answer === Msg.ACK) assertEquals(reply.of, request.msgid);
  }
  await client.send({ msgid: Msg.DELIVERED, id: 1, seq: 1 });
  await client.settle();
  assertEquals(client.drain(), [], "DELIVERED has no reply");
});
