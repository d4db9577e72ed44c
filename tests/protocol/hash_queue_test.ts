/** Floods of wrong passwords, on a server with the default cost: only the attacker waits. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, PASSWORD, register } from "../harness/framed_client.ts";
import { connectFrom, TRUSTING } from "../harness/proxy.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { events } from "../harness/workers.ts";

const FLOOD = 60;
const FEW = FLOOD / 2; // guesses: at the usual cost they take 20 s, and all that a test does meanwhile takes less
const LONG = 120_000; // milliseconds
const HASHED = ["--scrypt-ln", "15"];

/** Sends one wrong password of an unknown user each, from clients that do not wait for the replies. */
async function flood(server: Server, hosts: readonly string[]): Promise<FramedClient[]> {
  return await Promise.all(hosts.map(async (host, at) => {
    const client = await connectFrom(server, host);
    await client.send({ msgid: Msg.LOGIN, id: 1_000_000 + at, password: "wrong" });
    return client;
  }));
}

/** Returns the number of logins that were refused so far, for the given reason or any. */
function refused(server: Server, errno?: number): number {
  return events(server, "refused").filter((event) => errno === undefined || event.errno === errno).length;
}

serverTest("hash queue: passwords of disconnected clients are not hashed, but count for their address", {
  args: [...TRUSTING, ...HASHED, "--max-logins-per-address", `${FLOOD}`],
}, async (server) => {
  const id = await register(server);
  const host = "198.51.100.1";
  const clients = await flood(server, new Array<string>(FLOOD).fill(host));
  await until(() => refused(server) > 0, "the first to be hashed", LONG);
  await Promise.all(clients.map((client) => client.close()));
  await until(() => refused(server) === FLOOD, "all to be over", LONG);
  assertLess(refused(server, Errno.FAILED), FEW);
  await using late = await connectFrom(server, host);
  const reply = await late.request({ msgid: Msg.LOGIN, id, password: PASSWORD });
  assertEquals(
    [reply.errno, reply.errmsg],
    [Errno.RATE_LIMITED, "too many logins by password from this address"],
  );
});

serverTest(
  "hash queue: a flood from one address, or one IPv6 /48, does not delay another client's password",
  {
    args: [...TRUSTING, ...HASHED],
  },
  async (server) => {
    const id = await register(server);
    const floods = [
      new Array<string>(FLOOD).fill("198.51.100.1"),
      Array.from({ length: FLOOD }, (_, at) => `2001:db8:1:${at.toString(16)}::1`),
    ];
    let over = 0;
    for (const hosts of floods) {
      const clients = await flood(server, hosts);
      await until(() => refused(server) > over, "the first to be hashed", LONG);
      await using client = await connectFrom(server, "203.0.113.1");
      const reply = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD, force: true }, LONG);
      assertEquals(reply.errno, Errno.OK);
      assertLess(refused(server, Errno.FAILED) - over, FEW);
      await Promise.all(clients.map((client) => client.close()));
      over += FLOOD;
      await until(() => refused(server) === over, "all to be over", LONG);
    }
  },
);

serverTest("hash queue: a full queue rejects only the address with the most waiting passwords", {
  args: [...TRUSTING, ...HASHED, "--hash-queue", "10"],
}, async (server) => {
  const id = await register(server);
  const clients = await flood(server, new Array<string>(FLOOD).fill("198.51.100.1"));
  await until(() => refused(server, Errno.RATE_LIMITED) > 0, "a full queue", LONG);
  await using client = await connectFrom(server, "203.0.113.1");
  const reply = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD }, LONG);
  assertEquals(reply.errno, Errno.OK);
  await using other = await connectFrom(server, "203.0.113.2");
  const { errno } = await other.request({ msgid: Msg.REGISTER, name: "alice", password: PASSWORD }, LONG);
  assertEquals(errno, Errno.OK);
  const replies = await Promise.all(clients.map((client) => client.next(Msg.LOGIN_ACK, LONG)));
  const late = replies.filter((reply) => reply.errno === Errno.RATE_LIMITED);
  assert(late.length >= FLOOD / 2, `${late.length} refused`);
  for (const { retry_after } of late) assert(retry_after! > 0 && retry_after! <= 5_000, `${retry_after} ms`);
  await Promise.all(clients.map((client) => client.close()));
});

serverTest("hash queue: a client that only ends its sending gets its reply if no other waits", {
  args: [...TRUSTING],
}, async (server) => {
  const id = await register(server);
  const client = await connectFrom(server, "203.0.113.1");
  await client.send({ msgid: Msg.LOGIN, id, password: PASSWORD });
  await client.endWriting();
  assertEquals((await client.next(Msg.LOGIN_ACK)).errno, Errno.OK);
  await client.close();
});
