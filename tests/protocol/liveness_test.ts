/** PING and PONG, and silent clients. */
import { assert, assertEquals, assertGreaterOrEqual } from "@std/assert";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { frame, joined, objectFrame } from "../harness/frames.ts";
import { type Server, serverTest, sharedServer } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";

const test = sharedServer({ args: ["--ping-interval", "300ms", "--pong-timeout", "300ms"] });

test("liveness: replies to PING before and after a login", async (server) => {
  await using client = await FramedClient.connect(server);
  assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
  const id = await client.register("pings");
  await client.login({ id });
  assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
});

test("liveness: sends no reply to a PONG without a PING", async (server) => {
  await using client = await newUser(server);
  await client.send({ msgid: Msg.PONG });
  await client.settle();
  assertEquals(client.drain().filter((m) => m.errno !== Errno.BAD_REQUEST), []);
});

test("liveness: sends PING to a silent client, and closes the connection without a reply", async (server) => {
  const id = await register(server);
  await using watcher = await newUser(server);
  await watcher.succeed({ msgid: Msg.ADD_FRIEND, friendid: id });
  await using client = await login(server, { id }, { silent: true });
  await client.next(Msg.PING);
  await client.serverCloses();
  assertEquals((await watcher.next((m) => m.state === "offline")).id, id);
});

test("liveness: leaves a silent client connected when it answers PING", async (server) => {
  await using friend = await newUser(server);
  await using client = await newUser(server);
  await until(() => client.pings >= 4, "four rounds of PING");
  await friend.chat(client.id, "still there?");
  assertEquals((await client.next(Msg.ONE_CHAT)).msg, "still there?");
});

test("liveness: takes any request for an answer to PING", async (server) => {
  const id = await register(server);
  await using client = await login(server, { id }, { silent: true });
  for (let round = 0; round < 4; round++) {
    await client.next(Msg.PING);
    await client.succeed({ msgid: Msg.CONTACTS });
  }
});

const LOGIN_TIMEOUT_MS = 1_000; // milliseconds: more than a login takes on a busy machine

serverTest(
  "login-timeout: closes a connection without a login in time, whatever it sends, and no other",
  { args: ["--login-timeout", `${LOGIN_TIMEOUT_MS}ms`] },
  async (server) => {
    await using member = await newUser(server);
    const start = performance.now();
    await using silent = await FramedClient.connect(server);
    await using half = await FramedClient.connect(server);
    await using talker = await FramedClient.connect(server);
    await half.sendBytes(frame("{", 1_000));
    let open = true;
    const talk = async () => {
      while (open) {
        await talker.request({ msgid: Msg.PING });
        await pause(20);
      }
    };
    const talking = talk().catch(() => {}); // the test waits for its end
    await silent.serverCloses();
    assertGreaterOrEqual(performance.now() - start, LOGIN_TIMEOUT_MS * 0.9);
    await half.serverCloses();
    await talker.serverCloses();
    open = false;
    await talking;
    assertEquals((await member.request({ msgid: Msg.CONTACTS })).errno, Errno.OK);
  },
);

/** Sends a user that does not read more than the kernel buffers, and returns the number of messages. */
async function backlogOf(server: Server, id: number): Promise<number> {
  await using sender = await newUser(server);
  const [count, text] = [400, "x".repeat(50_000)];
  await Promise.all(Array.from({ length: count }, () => sender.chat(id, text)));
  return count;
}

serverTest("liveness: does not close a slow reader, which receives everything", {
  args: ["--ping-interval", "300ms", "--pong-timeout", "300ms"],
}, async (server) => {
  const id = await register(server);
  await using slow = await FramedClient.connect(server, { paused: true });
  await slow.send({ msgid: Msg.LOGIN, id, password: PASSWORD });
  const count = await backlogOf(server, id);
  await pause(1_200); // twice the sum of interval and timeout
  slow.resume();
  assertEquals(
    (await slow.take(count, Msg.ONE_CHAT)).map(({ seq }) => seq),
    Array.from({ length: count }, (_, i) => i + 1),
  );
  await slow.settle();
});

serverTest("write-stall-timeout: closes a connection that takes no bytes at all", {
  args: ["--write-stall-timeout", "500ms"],
}, async (server) => {
  const id = await register(server);
  await using deaf = await FramedClient.connect(server, { paused: true });
  await deaf.send({ msgid: Msg.LOGIN, id, password: PASSWORD });
  await backlogOf(server, id);
  await using again = await login(server, { id }); // waits until the account is free
  assertEquals(again.id, id);
});

serverTest("login-timeout: closes a connection that guesses on or does not read, too", {
  args: ["--login-timeout", "1s", "--argon2-passes", "2", "--write-buffer-bytes", "4096"],
}, async (server) => {
  const id = await register(server);
  const [guesses, asked] = [2_000, 100_000];
  await using guesser = await FramedClient.connect(server);
  const guess = objectFrame({ msgid: Msg.LOGIN, id, password: "a guess" });
  const sending = guesser.sendBytes(joined(...Array.from({ length: guesses }, () => guess))).catch(() => {});
  await using deaf = await FramedClient.connect(server, { paused: true });
  const ping = objectFrame({ msgid: Msg.PING, rid: "x".repeat(100) });
  const asking = deaf.sendBytes(joined(...Array.from({ length: asked }, () => ping))).catch(() => {});
  await guesser.serverCloses();
  const replies = guesser.drain();
  assertEquals(replies.pop()?.kind, "closing");
  assert(replies.length < guesses / 2, `${replies.length} guesses were answered`);
  deaf.resume();
  await deaf.serverCloses();
  assert(deaf.drain().length < asked);
  await sending;
  await asking;
});

serverTest("max-connections: closes connections over the limit, and accepts others after one has ended", {
  args: ["--max-connections", "5"],
}, async (server) => {
  const clients = [];
  for (let at = 0; at < 5; at++) {
    const client = await FramedClient.connect(server);
    await client.settle();
    clients.push(client);
  }
  await using sixth = await FramedClient.connect(server);
  await sixth.serverCloses();
  for (const client of clients) await client.settle();
  await clients[0]!.close();
  await until(async () => {
    await using client = await FramedClient.connect(server);
    return await client.settle().then(() => true, () => false);
  }, "room for a connection");
  for (const client of clients) await client.close();
  assert(server.running);
});
