/** Floods of wrong passwords at a high cost: they wait, and other clients do not. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser, PASSWORD, register } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { connectFrom, TRUSTING } from "../harness/proxy.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { events } from "../harness/workers.ts";
import { BULK } from "../../lib/server/scheduling/classes.ts";

const FLOOD_PASSWORDS = 60;
// guesses, which take 15 s on two cores: longer than the rest of a test
const FEWER_PASSWORDS = FLOOD_PASSWORDS / 2;
const TIMEOUT_MS = 120_000; // milliseconds
const HASHED = ["--argon2-passes", "32"]; // half a second each

/** Sends one wrong password of an unknown user from each of many clients, without waiting for the replies. */
async function flood(server: Server, hosts: readonly string[]): Promise<FramedClient[]> {
  return await Promise.all(hosts.map(async (host, at) => {
    const client = await connectFrom(server, host);
    await client.send({ msgid: Msg.LOGIN, id: 1_000_000 + at, password: "wrong" });
    return client;
  }));
}

/** Returns the number of refused logins so far, for a certain reason if given. */
function refused(server: Server, errno?: number): number {
  return events(server, "refused").filter((event) => errno === undefined || event.errno === errno).length;
}

serverTest("hash queue: skips passwords of closed connections, and counts them for their address", {
  args: [...TRUSTING, ...HASHED, "--max-logins-per-address", `${FLOOD_PASSWORDS}`],
}, async (server) => {
  const id = await register(server);
  const host = "198.51.100.1";
  const clients = await flood(server, new Array<string>(FLOOD_PASSWORDS).fill(host));
  await until(() => refused(server) > 0, "the first to be hashed", TIMEOUT_MS);
  await Promise.all(clients.map((client) => client.close()));
  await until(() => refused(server) === FLOOD_PASSWORDS, "all to be over", TIMEOUT_MS);
  assertLess(refused(server, Errno.FAILED), FEWER_PASSWORDS);
  await using late = await connectFrom(server, host);
  const reply = await late.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
  assertEquals(
    [reply.errno, reply.errmsg],
    [Errno.RATE_LIMITED, "too many logins by password from this address"],
  );
});

serverTest("hash queue: does not delay an address by a flood from another address or IPv6 /48", {
  args: [...TRUSTING, ...HASHED],
}, async (server) => {
  const id = await register(server);
  const floods = [
    new Array<string>(FLOOD_PASSWORDS).fill("198.51.100.1"),
    Array.from({ length: FLOOD_PASSWORDS }, (_, at) => `2001:db8:1:${at.toString(16)}::1`),
  ];
  let over = 0;
  for (const hosts of floods) {
    const clients = await flood(server, hosts);
    await until(() => refused(server) > over, "the first to be hashed", TIMEOUT_MS);
    await using client = await connectFrom(server, "203.0.113.1");
    const reply = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD, force: true }, TIMEOUT_MS);
    assertEquals(reply.errno, Errno.OK);
    assertLess(refused(server, Errno.FAILED) - over, FEWER_PASSWORDS);
    await Promise.all(clients.map((client) => client.close()));
    over += FLOOD_PASSWORDS;
    await until(() => refused(server) === over, "all to be over", TIMEOUT_MS);
  }
});

serverTest("hash queue: refuses the address with the most waiting passwords when it is full", {
  args: [...TRUSTING, ...HASHED, "--hash-queue", "10"],
}, async (server) => {
  const id = await register(server);
  const clients = await flood(server, new Array<string>(FLOOD_PASSWORDS).fill("198.51.100.1"));
  await until(() => refused(server, Errno.RATE_LIMITED) > 0, "a full queue", TIMEOUT_MS);
  await using client = await connectFrom(server, "203.0.113.1");
  const reply = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD }, TIMEOUT_MS);
  assertEquals(reply.errno, Errno.OK);
  await using other = await connectFrom(server, "203.0.113.2");
  const { errno } = await other.request(
    { msgid: Msg.REGISTER, name: "alice", password: PASSWORD },
    TIMEOUT_MS,
  );
  assertEquals(errno, Errno.OK);
  const replies = await Promise.all(clients.map((client) => client.next(Msg.LOGIN_ACK, TIMEOUT_MS)));
  const late = replies.filter((reply) => reply.errno === Errno.RATE_LIMITED);
  assert(late.length >= FLOOD_PASSWORDS / 2, `${late.length} refused`);
  for (const { retry_after } of late) assert(retry_after! > 0 && retry_after! <= 5_000, `${retry_after} ms`);
  await Promise.all(clients.map((client) => client.close()));
});

serverTest("hash queue: replies to a half-closed client when no other waits", {
  args: [...TRUSTING],
}, async (server) => {
  const id = await register(server);
  const client = await connectFrom(server, "203.0.113.1");
  await client.send({ msgid: Msg.LOGIN, id, password: PASSWORD });
  await client.endWriting();
  assertEquals((await client.next(Msg.LOGIN_ACK)).errno, Errno.OK);
  await client.close();
});

serverTest("hash queue: does not delay backlogs by logins beyond the rate of their connections", {
  args: [...TRUSTING, ...HASHED, "--unauthenticated-rate", "4", "--shared-rate", "0"],
}, async (server) => {
  await using sender = await newUser(server);
  const receiver = await newUser(server);
  await receiver.close();
  await sender.chat(receiver.id, "while you were away");
  const ping = { msgid: Msg.PING };
  const pings = Array.from({ length: 6 }, () => objectFrame(ping)); // the reserve of the rate is used up
  const count = BULK.maxWeight + 6;
  const clients = await Promise.all(
    Array.from({ length: count }, (_, at) => connectFrom(server, `198.51.100.${at}`)),
  );
  await Promise.all(clients.map((client, at) => {
    const guess = { msgid: Msg.LOGIN, id: 1_000_000 + at, password: "wrong" };
    return client.sendBytes(joined(...pings, objectFrame(guess)));
  }));
  await until(() => refused(server) > 0, "the first to be hashed", TIMEOUT_MS);
  const startedAt = performance.now();
  await using again = await login(server, { token: receiver.token });
  await again.next(Msg.ONE_CHAT);
  assertLess(performance.now() - startedAt, 1_000);
  assertLess(refused(server), FEWER_PASSWORDS, "the others were waiting");
  await Promise.all(clients.map((client) => client.close()));
});
