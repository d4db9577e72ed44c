/** Messages wait for their recipient, and are repeated at each login until it has sent DELIVERED. */
import { assert, assertEquals } from "@std/assert";
import { Errno, MAX_INTEGER, Msg } from "../harness/protocol_numbers.ts";
import {
  FramedClient,
  freshName,
  login,
  newGroup,
  newUser,
  PASSWORD,
  register,
} from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { serverTest, sharedServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const test = sharedServer();

/** Closes the client and logs in again; the new client receives the user's backlog. */
async function again(server: { host: string; port: number }, client: FramedClient): Promise<FramedClient> {
  await client.close();
  return await login(server, { id: client.id });
}

test("delivery: sends the backlog after the login in order, with the fields of a push", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  const acks = [];
  for (const msg of ["one", "two", "three"]) acks.push(await alice.chat(id, msg, msg));
  await using bob = await login(server, { id });
  const chats = await bob.take(3, Msg.ONE_CHAT);
  const expected = acks.map((ack, at) => {
    const msg = ["one", "two", "three"][at]!;
    return {
      msgid: 6,
      id: alice.id,
      name: alice.name,
      toid: id,
      msg,
      time: ack.time!,
      seq: ack.seq!,
      cid: msg,
    };
  });
  assertEquals(
    chats.map(({ msgid, id, name, toid, msg, time, seq, cid }) => (
      { msgid, id: id!, name: name!, toid: toid!, msg: msg!, time: time!, seq: seq!, cid: cid! }
    )),
    expected,
  );
});

test("delivery: repeats at the next login exactly the messages without DELIVERED", async (server) => {
  await using alice = await newUser(server);
  let bob = await newUser(server);
  for (const msg of ["1", "2", "3"]) await alice.chat(bob.id, msg);
  await bob.take(3, Msg.ONE_CHAT);
  bob = await again(server, bob);
  assertEquals(
    (await bob.take(3, Msg.ONE_CHAT)).map((m) => m.seq),
    [1, 2, 3],
    "a written message is not a delivered one",
  );
  await bob.delivered({ id: alice.id }, 2);
  bob = await again(server, bob);
  assertEquals((await bob.next(Msg.ONE_CHAT)).seq, 3);
  await bob.delivered({ id: alice.id }, 3);
  bob = await again(server, bob);
  await alice.chat(bob.id, "4");
  assertEquals((await bob.next(Msg.ONE_CHAT)).seq, 4, "no earlier message was repeated");
  assertEquals(bob.drain(), []);
  await bob.close();
});

test("delivery: moves a cursor neither back nor beyond the last message", async (server) => {
  await using alice = await newUser(server);
  let bob = await newUser(server);
  for (const msg of ["1", "2", "3"]) await alice.chat(bob.id, msg);
  await bob.take(3, Msg.ONE_CHAT);
  await bob.delivered({ id: alice.id }, 3);
  await bob.delivered({ id: alice.id }, 1);
  await bob.delivered({ id: alice.id }, MAX_INTEGER);
  await bob.close();
  await alice.chat(bob.id, "4");
  bob = await again(server, bob);
  assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "4");
  await bob.settle();
  assertEquals(bob.drain(), []);
  await bob.close();
});

test("delivery: sends no reply to a DELIVERED that is invalid or names no message", async (server) => {
  await using bob = await newUser(server);
  const fields = [{}, { id: bob.id }, { id: MAX_INTEGER, seq: 1 }, { groupid: MAX_INTEGER, seq: 1 }, {
    seq: 1,
  }];
  for (const wrong of [0, -1, 2 ** 31, "1", null]) fields.push({ id: 1, seq: wrong as number });
  for (const field of fields) await bob.send({ msgid: Msg.DELIVERED, rid: "none", ...field });
  await bob.settle();
  assert(bob.drain().every((m) => m.errno === Errno.BAD_REQUEST), "an error at most");
});

test("delivery: moves the cursor of the sender of DELIVERED only", async (server) => {
  await using alice = await newUser(server);
  await using carol = await newUser(server);
  let bob = await newUser(server);
  await alice.chat(bob.id, "alice's");
  await carol.chat(bob.id, "carol's");
  await bob.take(2, Msg.ONE_CHAT);
  await alice.delivered({ id: bob.id }, 1);
  await bob.delivered({ id: carol.id }, 1);
  bob = await again(server, bob);
  assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "alice's");
  await bob.settle();
  assertEquals(bob.drain(), []);
  await bob.close();
});

test("delivery: does not push a message to its sender", async (server) => {
  let alice = await newUser(server);
  await using bob = await newUser(server);
  const groupid = await newGroup(alice, [bob]);
  await alice.chat(bob.id, "mine");
  await alice.groupChat(groupid, "mine");
  alice = await again(server, alice);
  await bob.chat(alice.id, "his");
  await bob.groupChat(groupid, "his");
  assertEquals((await alice.next(Msg.ONE_CHAT)).msg, "his");
  assertEquals((await alice.next(Msg.GROUP_CHAT)).msg, "his");
  assertEquals(alice.drain(), []);
  await alice.close();
});

test("delivery: retains a group's messages for each member until its DELIVERED", async (server) => {
  await using alice = await newUser(server);
  let bob = await newUser(server);
  let carol = await newUser(server);
  const groupid = await newGroup(alice, [bob, carol]);
  await bob.close();
  for (const msg of ["1", "2", "3"]) await alice.groupChat(groupid, msg);
  await carol.take(3, Msg.GROUP_CHAT);
  await carol.delivered({ groupid }, 3);
  bob = await again(server, bob);
  const missed = await bob.take(3, Msg.GROUP_CHAT);
  assertEquals(
    missed.map((m) => [m.groupid, m.seq, m.id, m.name]),
    [1, 2, 3].map((seq) => [groupid, seq, alice.id, alice.name]),
  );
  await bob.delivered({ groupid }, 1);
  bob = await again(server, bob);
  assertEquals((await bob.take(2, Msg.GROUP_CHAT)).map((m) => m.seq), [2, 3]);
  carol = await again(server, carol);
  await alice.groupChat(groupid, "4");
  assertEquals((await carol.next(Msg.GROUP_CHAT)).msg, "4");
  assertEquals(carol.drain(), []);
  await bob.close();
  await carol.close();
});

test("delivery: sends 3,000 messages of three senders, each sender's in order", async (server) => {
  const count = 1_000;
  const id = await register(server);
  const senders = await Promise.all([1, 2, 3].map(() => newUser(server)));
  await Promise.all(senders.map(async (sender) => {
    const requests = Array.from({ length: count }, (_, at) => (
      { msgid: Msg.ONE_CHAT, toid: id, msg: `${at} ${"x".repeat(200)}`, cid: `${at}` }
    ));
    await sender.sendBytes(joined(...requests.map(objectFrame)));
    const acks = await sender.take(count, Msg.ACK);
    assertEquals(acks.filter((ack) => ack.errno !== Errno.OK), []);
  }));
  await using bob = await login(server, { id });
  const chats = await bob.take(senders.length * count, Msg.ONE_CHAT);
  for (const sender of senders) {
    const theirs = chats.filter((m) => m.id === sender.id);
    assertEquals(theirs.map((m) => m.seq), Array.from({ length: count }, (_, at) => at + 1));
    assert(theirs.every((m, at) => m.msg!.startsWith(`${at} x`)));
    await sender.close();
  }
  await bob.settle();
  assertEquals(bob.drain(), []);
});

test("delivery: sends new messages after the backlog that is still in flight", async (server) => {
  const count = 2_000;
  await using alice = await newUser(server);
  const id = await register(server);
  const message = (at: number) => objectFrame({ msgid: Msg.ONE_CHAT, toid: id, msg: `${at}`, cid: `${at}` });
  await alice.sendBytes(joined(...Array.from({ length: count / 2 }, (_, at) => message(at))));
  await alice.take(count / 2, Msg.ACK);
  await using bob = await FramedClient.connect(server);
  await Promise.all([
    bob.login({ id }),
    alice.sendBytes(joined(...Array.from({ length: count / 2 }, (_, at) => message(count / 2 + at)))),
  ]);
  const chats = await bob.take(count, Msg.ONE_CHAT);
  assertEquals(chats.map((m) => m.seq), Array.from({ length: count }, (_, at) => at + 1));
});

test("delivery: sends the backlog of a replaced session to the new one", async (server) => {
  await using alice = await newUser(server);
  await using first = await newUser(server);
  await alice.chat(first.id, "1");
  await first.next(Msg.ONE_CHAT);
  await using second = await FramedClient.connect(server);
  await second.login({ id: first.id }, { force: true });
  assertEquals((await second.next(Msg.ONE_CHAT)).msg, "1");
});

test("delivery: loses no message when a login and messages coincide", async (server) => {
  await using alice = await newUser(server);
  const id = await register(server);
  let sent = 0;
  for (let round = 0; round < 30; round++) {
    await using bob = await FramedClient.connect(server);
    const chats = Array.from({ length: 3 }, () => alice.chat(id, `${++sent}`));
    await bob.login({ id });
    await Promise.all(chats);
    const last = sent;
    await until(() => bob.waiting.some((m) => m.seq === last), `message ${last} in round ${round}`);
    assertEquals(bob.drain().map((m) => m.seq), [last - 2, last - 1, last]);
    await bob.delivered({ id: alice.id }, last);
  }
});

test("delivery: sends the backlog of very many conversations as DELIVERED arrives", async (server) => {
  const count = 1_200;
  const id = await register(server);
  await using sender = await FramedClient.connect(server);
  for (let at = 0; at < count; at++) {
    await sender.login({ id: await sender.register(freshName()) });
    await sender.chat(id, `${at}`);
    await sender.succeed({ msgid: Msg.LOGOUT });
  }
  await using bob = await login(server, { id });
  const texts = new Set<string>();
  while (texts.size < count) {
    const chat = await bob.next(Msg.ONE_CHAT);
    texts.add(chat.msg!);
    await bob.send({ msgid: Msg.DELIVERED, id: chat.id, seq: chat.seq });
  }
  await bob.settle();
  assertEquals(bob.drain(), [], "each one once");
});

serverTest("delivery: retains messages and cursors over a restart", {}, async (server) => {
  const alice = await newUser(server);
  const bob = await newUser(server);
  for (const msg of ["1", "2", "3"]) await alice.chat(bob.id, msg);
  await bob.take(3, Msg.ONE_CHAT);
  await bob.delivered({ id: alice.id }, 2);
  await bob.close();
  await alice.chat(bob.id, "4");
  await alice.close();
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 0);
  await server.restart();
  await using client = await FramedClient.connect(server);
  await client.succeed({ msgid: Msg.LOGIN, id: bob.id, password: PASSWORD });
  assertEquals((await client.take(2, Msg.ONE_CHAT)).map((m) => m.msg), ["3", "4"]);
  await client.settle();
  assertEquals(client.drain(), []);
});
