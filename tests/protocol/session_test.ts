/** Sessions: one per account, takeover, and requests in one segment with a login. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, freshName, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { serverTest, sharedServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const test = sharedServer();

test("session: refuses a second login of an account, and goes on", async (server) => {
  await using first = await newUser(server);
  await using second = await FramedClient.connect(server);
  const reply = await second.request({ msgid: Msg.LOGIN, id: first.id, password: PASSWORD });
  assertEquals([reply.msgid, reply.errno], [Msg.LOGIN_ACK, Errno.ALREADY_ONLINE]);
  assert(reply.errmsg && !reply.token);
  const wrong = await second.request({ msgid: Msg.LOGIN, id: first.id, password: "wrong", force: true });
  assertEquals(wrong.errno, Errno.FAILED, "others must not learn that the account is in use");
  assertEquals((await second.request({ msgid: Msg.CONTACTS })).errno, Errno.NOT_LOGGED_IN);
  assertEquals((await first.request({ msgid: Msg.CONTACTS })).errno, Errno.OK);
  assertEquals(first.drain(), [], "the first session was not replaced");
});

test("session: is given to one of many concurrent logins", async (server) => {
  const id = await register(server);
  const clients = await Promise.all(Array.from({ length: 10 }, () => FramedClient.connect(server)));
  const replies = await Promise.all(
    clients.map((client) => client.request({ msgid: Msg.LOGIN, id, password: PASSWORD })),
  );
  const errnos = replies.map((reply) => reply.errno).sort();
  assertEquals(errnos, [Errno.OK, ...Array<number>(9).fill(Errno.ALREADY_ONLINE)]);
  for (const client of clients) await client.close();
});

test("session: is left to one of many forced concurrent logins, all of which get a reply", async (server) => {
  const id = await register(server);
  const first = await login(server, { id });
  const { token } = first;
  for (const who of [{ token }, { id, password: PASSWORD, force: true }]) {
    const clients = await Promise.all(Array.from({ length: 10 }, () => FramedClient.connect(server)));
    const replies = await Promise.all(clients.map((client) => client.request({ msgid: Msg.LOGIN, ...who })));
    const errnos = replies.map(({ errno }) => errno);
    assert(errnos.includes(Errno.OK), `${errnos}`);
    assert(errnos.every((errno) => errno === Errno.OK || errno === Errno.ALREADY_ONLINE), `${errnos}`);
    await using friend = await newUser(server);
    await friend.chat(id, "who is it?");
    const hearing = () =>
      clients.filter((client) => client.waiting.some((m) => m.msgid === Msg.ONE_CHAT && m.id === friend.id))
        .length;
    await until(() => hearing() > 0, "one that hears");
    await Promise.all(
      clients.map((client) => Promise.race([client.settle().catch(() => {}), client.closed])),
    );
    assertEquals(hearing(), 1);
    for (const client of clients) await client.close();
  }
  await first.close();
});

test("session: is taken over with force, and the other client is told", async (server) => {
  await using friend = await newUser(server);
  await using first = await newUser(server);
  await using second = await FramedClient.connect(server);
  const reply = await second.request({ msgid: Msg.LOGIN, id: first.id, password: PASSWORD, force: true });
  assertEquals([reply.msgid, reply.errno, reply.id], [Msg.LOGIN_ACK, Errno.OK, first.id]);
  const notice = await first.next(Msg.NOTICE);
  assertEquals(notice.kind, "kicked");
  assert(notice.errmsg, "the notice has a text");
  await friend.chat(first.id, "to the new one");
  assertEquals((await second.next(Msg.ONE_CHAT)).msg, "to the new one");
  assertEquals(first.drain(), [], "the old session gets nothing more");
  // The server has closed the old connection, or ended its session.
  const errno = await first.request({ msgid: Msg.CONTACTS }).then((m) => m.errno, () => Errno.NOT_LOGGED_IN);
  assertEquals(errno, Errno.NOT_LOGGED_IN);
});

test("session: begins with force when there is none to replace", async (server) => {
  const id = await register(server);
  await using client = await FramedClient.connect(server);
  assertEquals((await client.login({ id }, { force: true })).id, id);
});

test("session: is taken over with force and a token", async (server) => {
  await using first = await newUser(server);
  await using second = await FramedClient.connect(server);
  await second.login({ token: first.token }, { force: true });
  assertEquals(second.id, first.id);
  assertEquals((await first.next(Msg.NOTICE)).kind, "kicked");
});

test("session: ends with its connection", async (server) => {
  const first = await newUser(server);
  const { id } = first;
  await first.close();
  await using second = await FramedClient.connect(server);
  await until(
    async () => (await second.request({ msgid: Msg.LOGIN, id, password: PASSWORD })).errno === Errno.OK,
    "the account to be free",
  );
});

test("session: takes a login and a message in one segment", async (server) => {
  await using friend = await newUser(server);
  const id = await register(server);
  await using client = await FramedClient.connect(server);
  await client.sendBytes(joined(
    objectFrame({ msgid: Msg.LOGIN, id, password: PASSWORD, rid: 1 }),
    objectFrame({ msgid: Msg.ONE_CHAT, toid: friend.id, msg: "at once", cid: "1", rid: 2 }),
    objectFrame({ msgid: Msg.CONTACTS, rid: 3 }),
  ));
  const replies = await client.take(3, (m) => m.rid !== undefined);
  assertEquals(replies.map((m) => [m.rid, m.msgid, m.errno]), [[1, 2, 0], [2, 20, 0], [3, 29, 0]]);
  assertEquals((await friend.next(Msg.ONE_CHAT)).id, id);
});

test("session: takes register, login, a message and logout in one segment", async (server) => {
  await using friend = await newUser(server);
  await using client = await FramedClient.connect(server);
  const name = freshName();
  await client.sendBytes(joined(
    objectFrame({ msgid: Msg.REGISTER, name, password: PASSWORD }),
    objectFrame({ msgid: Msg.LOGIN, name, password: PASSWORD }),
    objectFrame({ msgid: Msg.ONE_CHAT, toid: friend.id, msg: "one", cid: "1" }),
    objectFrame({ msgid: Msg.LOGOUT }),
    objectFrame({ msgid: Msg.ONE_CHAT, toid: friend.id, msg: "two", cid: "2" }),
  ));
  const replies = await client.take(5, () => true);
  assertEquals(replies.map((m) => [m.msgid, m.errno]), [[5, 0], [2, 0], [20, 0], [20, 0], [20, 3]]);
  assertEquals((await friend.next(Msg.ONE_CHAT)).name, name);
  await friend.settle();
  assertEquals(friend.drain(), []);
});

serverTest("session: accounts and tokens outlive a restart", {}, async (server) => {
  const user = await newUser(server, "lasting");
  const { id, token } = user;
  await user.close();
  await server.restart();
  await using one = await login(server, { token });
  assertEquals([one.id, one.name], [id, "lasting"]);
  await one.close();
  await using two = await login(server, { name: "lasting" });
  assertEquals(two.id, id);
  assertNotEquals(await register(server), id);
});
