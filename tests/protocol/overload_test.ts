/** The refusals of an overloaded server: RATE_LIMITED and UNAVAILABLE. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { serverTest, startServer } from "../harness/server.ts";

const LOGINS = 20;
const MAX_RETRY_AFTER_MS = 5_000; // ms, the bound for waiting passwords

serverTest("overload: refuses logins with retry_after when the hash queue is full", {
  args: ["--argon2-passes", "4", "--hash-queue", "1"],
}, async (server) => {
  const id = await register(server);
  const clients = await Promise.all(Array.from({ length: LOGINS }, () => FramedClient.connect(server)));
  const replies = await Promise.all(clients.map((client, at) => (
    client.request({ msgid: Msg.LOGIN, id: id + at, password: "wrong" })
  )));
  const limited = replies.filter((reply) => reply.errno === Errno.RATE_LIMITED);
  assert(limited.length > 0 && limited.length < LOGINS, `${limited.length} of ${LOGINS}`);
  for (const reply of limited) {
    assertEquals(reply.msgid, Msg.LOGIN_ACK);
    assert(reply.errmsg && Number.isInteger(reply.retry_after) && reply.retry_after! > 0);
    assert(reply.retry_after! <= MAX_RETRY_AFTER_MS);
  }
  assert(replies.every((reply) => reply.errno === Errno.FAILED || reply.errno === Errno.RATE_LIMITED));
  const reply = await clients[0]!.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
  assertEquals(reply.errno, Errno.OK, "when the queue has room again");
  for (const client of clients) await client.close();
});

serverTest("overload: acknowledges nothing that is not stored when the disk is full, and loses nothing", {
  diskKib: 2_048,
}, async (server) => {
  const alice = await newUser(server);
  const bob = await newUser(server);
  const text = "x".repeat(20_000);
  const most = 1_000; // messages: ten times as many as fit
  let stored = 0;
  let refused = await alice.chat(bob.id, text, "0");
  while (refused.errno === Errno.OK && stored < most) {
    assertEquals(refused.seq, ++stored);
    refused = await alice.chat(bob.id, text, `${stored}`);
  }
  assertLess(stored, most);
  assertEquals([refused.msgid, refused.of, refused.errno], [Msg.ACK, Msg.ONE_CHAT, Errno.UNAVAILABLE]);
  assert(refused.errmsg && Number.isInteger(refused.retry_after) && refused.retry_after! > 0);
  assertEquals((await alice.request({ msgid: Msg.PING })).msgid, Msg.PONG, "the connection goes on");
  const seqs = (await bob.take(stored, Msg.ONE_CHAT)).map((chat) => chat.seq);
  assertEquals(seqs, Array.from({ length: stored }, (_, at) => at + 1));
  await bob.settle();
  assertEquals(
    bob.drain().filter((m) => m.msgid === Msg.ONE_CHAT),
    [],
    "the refused message reached no user",
  );
  await alice.close();
  await bob.close();
  server.kill("SIGKILL");
  await server.wait();

  await using roomy = await startServer({ db: server.db });
  await using sender = await login(roomy, { id: alice.id });
  assertEquals(
    (await sender.chat(bob.id, text, `${stored}`)).seq,
    stored + 1,
    "it is accepted now, for the first time",
  );
  await using recipient = await login(roomy, { id: bob.id });
  const again = (await recipient.take(stored + 1, Msg.ONE_CHAT)).map((chat) => chat.seq);
  assertEquals(again, Array.from({ length: stored + 1 }, (_, at) => at + 1));
});
