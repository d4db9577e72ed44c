/** HISTORY: reading a conversation backwards by pages. */
import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";
import { Errno, MAX_INTEGER, MAX_SERVER_FRAME, Msg, type Received } from "../harness/protocol_numbers.ts";
import { type FramedClient, newGroup, newUser, register } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { sharedServer } from "../harness/server.ts";

const test = sharedServer();

type Conversation = { readonly id: number } | { readonly groupid: number };

/** Reads a conversation from its end to its beginning by pages. */
async function readBack(client: FramedClient, peer: Conversation, limit: number): Promise<Received[]> {
  let all: Received[] = [];
  let before: number | undefined;
  while (true) {
    const page = await client.request({
      msgid: Msg.HISTORY,
      ...peer,
      limit,
      ...(before === undefined ? {} : { before }),
    });
    assertEquals([page.msgid, page.errno], [Msg.HISTORY_ACK, Errno.OK], page.errmsg);
    const messages = page.messages!;
    if (messages.length === 0) return all;
    assertLessOrEqual(messages.length, limit);
    messages.forEach((m, at) => assert(at === 0 || m.seq! > messages[at - 1]!.seq!, "oldest first"));
    if (before !== undefined) assertLess(messages.at(-1)!.seq!, before);
    all = [...messages, ...all];
    before = messages[0]!.seq!;
    if (before === 1) return all;
  }
}

test("history: shows both users the same conversation with their own messages", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const expected: unknown[] = [];
  for (let at = 0; at < 25; at++) {
    const [from, to] = at % 3 ? [alice, bob] : [bob, alice];
    const ack = await from.chat(to.id, `text ${at} é😀`, `cid ${at}`);
    expected.push([ack.seq, from.id, from.name, `text ${at} é😀`, ack.time]);
  }
  for (const [client, other] of [[alice, bob], [bob, alice]] as const) {
    for (const limit of [1, 7, 25, 100]) {
      const all = await readBack(client, { id: other.id }, limit);
      assertEquals(all.map((m) => [m.seq, m.id, m.name, m.msg, m.time]), expected, `pages of ${limit}`);
    }
  }
});

test("history: returns the latest messages, and preceding ones with `before`", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  for (let at = 1; at <= 10; at++) await alice.chat(bob.id, `${at}`);
  const seqs = async (fields: { before?: number; limit: number }) => {
    const page = await bob.succeed({ msgid: Msg.HISTORY, id: alice.id, ...fields });
    return page.messages!.map((m) => m.seq);
  };
  assertEquals(await seqs({ limit: 3 }), [8, 9, 10]);
  assertEquals(await seqs({ before: 8, limit: 3 }), [5, 6, 7]);
  assertEquals(await seqs({ before: 3, limit: 5 }), [1, 2]);
  assertEquals(await seqs({ before: 1, limit: 5 }), []);
  assertEquals(await seqs({ before: MAX_INTEGER, limit: 2 }), [9, 10]);
});

test("history: shows a group's messages to all members, also to later ones", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await using late = await newUser(server);
  const groupid = await newGroup(alice, [bob]);
  for (let at = 0; at < 6; at++) await (at % 2 ? alice : bob).groupChat(groupid, `${at}`);
  await late.succeed({ msgid: Msg.ADD_GROUP, groupid });
  for (const client of [alice, bob, late]) {
    const all = await readBack(client, { groupid }, 4);
    assertEquals(all.map((m) => [m.seq, m.msg]), [0, 1, 2, 3, 4, 5].map((at) => [at + 1, `${at}`]));
    assertEquals(all.map((m) => m.id), all.map((_, at) => at % 2 ? alice.id : bob.id));
  }
});

test("history: is empty without messages, and not found without a user", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  assertEquals((await alice.succeed({ msgid: Msg.HISTORY, id, limit: 10 })).messages, []);
  for (const peer of [{ id: MAX_INTEGER }, { groupid: MAX_INTEGER }]) {
    const reply = await alice.request({ msgid: Msg.HISTORY, ...peer, limit: 10 });
    assertEquals([reply.msgid, reply.errno], [Msg.HISTORY_ACK, Errno.NOT_FOUND]);
  }
});

test("history: refuses conversations of other users", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  await using eve = await newUser(server);
  await alice.chat(bob.id, "between us");
  for (const id of [alice.id, bob.id]) {
    assertEquals((await eve.succeed({ msgid: Msg.HISTORY, id, limit: 10 })).messages, []);
  }
});

test("history: refuses invalid fields", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  const wrong = [
    { id: "1" },
    { id: 0 },
    { id: 2 ** 31 },
    { groupid: "1" },
    { groupid: -1 },
    {},
    { id, before: "3" },
    { id, before: -1 },
    { id, before: 1.5 },
    { id, limit: "3" },
    { id, limit: -1 },
    { id, limit: 1.5 },
  ];
  for (const fields of wrong) {
    const reply = await alice.request({ msgid: Msg.HISTORY, limit: 5, ...fields });
    assertEquals([reply.msgid, reply.errno], [Msg.HISTORY_ACK, Errno.BAD_REQUEST], JSON.stringify(fields));
    assert(reply.errmsg);
  }
});

test("history: splits long messages into pages below the maximum frame", async (server) => {
  await using alice = await newUser(server);
  await using bob = await newUser(server);
  const count = 30;
  const text = "\u0001".repeat(10_800); // six times as many bytes in JSON as in the store
  const requests = Array.from({ length: count }, (_, at) => (
    { msgid: Msg.ONE_CHAT, toid: bob.id, msg: `${at} ${text}`, cid: `${at}` }
  ));
  await alice.sendBytes(joined(...requests.map(objectFrame)));
  for (const ack of await alice.take(count, Msg.ACK)) assertEquals(ack.errno, Errno.OK, ack.errmsg);
  assertLess(MAX_SERVER_FRAME, count * JSON.stringify(text).length, "the messages do not fit into one frame");
  const all = await readBack(bob, { id: alice.id }, count);
  assertEquals(all.map((m) => m.seq), Array.from({ length: count }, (_, at) => at + 1));
  all.forEach((m, at) => assert(m.msg === `${at} ${text}`));
});
