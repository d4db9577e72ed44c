/** The limit of connections for each address, and the timeout for a proxy header. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  ConnectionCounter,
  rateLimitKey,
  TooManyConnectionsError,
} from "../../lib/server/limits/connection_counter.ts";
import { CidrList } from "../../lib/wire/networks.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, newUser } from "../harness/framed_client.ts";
import { proxyHeaderV1, proxyHeaderV2, TRUSTING } from "../harness/proxy.ts";
import { type Server, sharedServer, withServer } from "../harness/server.ts";
import { until, within } from "../harness/wait.ts";

Deno.test("addresses: counts connections by IPv4 address or IPv6 /64 network", () => {
  const cases: readonly (readonly [host: string, key: string | undefined])[] = [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::ffff:c000:201", "192.0.2.1"],
    ["::FFFF:0.0.0.0", "0.0.0.0"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8:0:0::/64"],
    ["2001:0DB8:0000:0000::", "2001:db8:0:0::/64"],
    ["2001:db8:0:1::1", "2001:db8:0:1::/64"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4::/64"],
    ["64:ff9b::192.0.2.1", "192.0.2.1"],
    ["64:FF9B::c000:201", "192.0.2.1"],
    ["64:ff9b::255.255.255.255", "255.255.255.255"],
    ["64:ff9b::1:192.0.2.1", "64:ff9b:0:0::/64"], // not in the /96
    ["64:ff9b:1::192.0.2.1", "64:ff9b:1:0::/64"], // local prefixes (RFC 8215) have the IPv4 address elsewhere
    ["64:ff9c::192.0.2.1", "64:ff9c:0:0::/64"],
    ["::ffff:0:192.0.2.1", "192.0.2.1"],
    ["::fffe:0:192.0.2.1", "0:0:0:0::/64"],
    ["::", "0:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["::192.0.2.1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["1::", "1:0:0:0::/64"],
    ["localhost", undefined],
    ["", undefined],
  ];
  for (const [host, key] of cases) assertEquals(rateLimitKey(host), key, host);
  const exempt = new ConnectionCounter(1, [CidrList.parse("127.0.0.0/8,::1")]);
  assertEquals(
    exempt.acquire("64:ff9b::127.0.0.1").key,
    "127.0.0.1",
    "what is translated is not this machine",
  );
});

Deno.test("addresses: admits up to the limit for each, and removes all state of ended connections", () => {
  const addresses = new ConnectionCounter(2, [CidrList.parse("10.0.0.0/8"), CidrList.parse("::1")]);
  const [first, second] = [addresses.acquire("2001:db8::1"), addresses.acquire("2001:db8::2")];
  for (const host of ["2001:db8::1", "2001:db8::3"]) {
    assertThrows(() => addresses.acquire(host), TooManyConnectionsError);
  }
  const other = addresses.acquire("2001:db8:0:1::1");
  first.release();
  first.release(); // a second release has no effect
  const third = addresses.acquire("2001:db8::4");
  assertThrows(() => addresses.acquire("2001:db8::1"), TooManyConnectionsError);
  for (const host of ["10.1.2.3", "::ffff:10.1.2.3", "::1"]) {
    const places = [1, 2, 3].map(() => addresses.acquire(host));
    assertEquals(places.map(({ key }) => key), [undefined, undefined, undefined]);
    for (const place of places) place.release();
  }
  assertEquals(addresses.size, 2);
  for (const place of [second, third, other]) place.release();
  assertEquals(addresses.size, 0);
});

const MAX_CONNECTIONS = 3;
const test = sharedServer({
  args: [
    ...TRUSTING,
    ...["--max-connections-per-address", `${MAX_CONNECTIONS}`, "--exempt-addresses", "203.0.113.0/24"],
    ...["--proxy-header-timeout", "400ms"],
  ],
});

/** Connects a client from this address. Returns undefined when the server closes the connection. */
async function enter(server: Server, host: string): Promise<FramedClient | undefined> {
  const client = await FramedClient.connect(server);
  const header = host.includes(":")
    ? proxyHeaderV2({ family: 2, source: { host, port: 1 } })
    : proxyHeaderV1(1, { host, port: 1 });
  try {
    await client.sendBytes(header);
    await client.settle();
    return client;
  } catch {
    await client.close();
    return undefined;
  }
}

/**
 * Fills all slots of an address, waits for slots that are being released, and asserts that there are no more.
 */
async function fill(server: Server, host: string): Promise<FramedClient[]> {
  const clients: FramedClient[] = [];
  while (clients.length < MAX_CONNECTIONS) {
    clients.push(await until(() => enter(server, host), `a place for ${host}`));
  }
  assertEquals(await enter(server, host), undefined, `${host} has more than ${MAX_CONNECTIONS} connections`);
  return clients;
}

test("addresses: admits exactly the limit for each client behind a proxy", async (server) => {
  await using open = new AsyncDisposableStack();
  for (const host of ["192.0.2.1", "192.0.2.2", "2001:db8::1"]) {
    for (let count = 0; count < MAX_CONNECTIONS; count++) {
      const client = await enter(server, host);
      assert(client, `${host} has ${MAX_CONNECTIONS} places, not ${count}`);
      open.use(client);
    }
    assertEquals(await enter(server, host), undefined);
  }
  assertEquals(await enter(server, "2001:db8::ffff"), undefined, "it is in the same network");
  assertEquals(await enter(server, "::ffff:c000:201"), undefined, "it is the same address");
  // The proxy itself and exempt addresses have no limit.
  for (
    const header of [
      proxyHeaderV2({ command: 0, family: 0, transport: 0 }),
      proxyHeaderV1(1, { host: "203.0.113.5", port: 1 }),
    ]
  ) {
    for (let count = 0; count <= MAX_CONNECTIONS; count++) {
      const client = open.use(await FramedClient.connect(server));
      await client.sendBytes(header);
      await client.settle();
    }
  }
  const lines = server.log().split("\n").filter((text) =>
    text.includes("too many connections from one address")
  );
  assert(lines.length > 0 && lines[0]!.includes('"address":"192.0.2.1"'), lines[0]);
});

test("addresses: releases the slot however a connection ends", async (server) => {
  const host = "192.0.2.77";
  /** Ways to end an accepted connection; in some the server closes first. */
  const ends: readonly ((client: FramedClient) => Promise<void>)[] = [
    (client) => client.close(),
    async (client) => {
      await client.endWriting();
      await client.serverCloses();
    },
    async (client) => {
      await client.sendBytes(Uint8Array.of(0xff, 0xff, 0xff, 0xff)); // a length over the maximum
      assertEquals((await client.next(Msg.ACK)).errno, Errno.TOO_LARGE);
      await client.serverCloses();
    },
    async (client) => { // it closes inside a frame, with unread replies
      for (let count = 0; count < 100; count++) await client.send({ msgid: Msg.PING });
      await client.sendBytes(Uint8Array.of(0, 0));
      await client.close();
    },
    async (client) => { // another login replaces its session
      await using user = await newUser(server);
      const { token } = user;
      await client.login({ token });
      await using other = await FramedClient.connect(server);
      await other.login({ token });
      await client.serverCloses();
    },
  ];
  for (const end of ends) {
    const clients = await fill(server, host);
    for (const client of clients) {
      await end(client);
      await client.close();
    }
  }
  for (const client of await fill(server, host)) await client.close();
});

test("addresses: closes a connection whose proxy header is late, and no other", async (server) => {
  const host = "192.0.2.99";
  const whole = proxyHeaderV1(1, { host, port: 1 });
  const begun = performance.now();
  const silent = await Promise.all([0, 1, whole.length - 1].map(async (length) => {
    const conn = await Deno.connect({ hostname: server.host, port: server.port });
    if (length > 0) await conn.write(whole.subarray(0, length));
    return conn;
  }));
  await using client = await enter(server, host);
  assert(client);
  for (const conn of silent) {
    const end = await within(conn.read(new Uint8Array(64)).catch(() => null), "the end");
    assertEquals(end, null, "closed without a word");
    conn.close();
  }
  assert(performance.now() - begun >= 400, "not too early");
  await client.settle();
});

Deno.test("addresses: counts the peer's address without a proxy, and exempts none when configured so", () =>
  withServer({
    args: ["--exempt-addresses", "none", "--max-connections-per-address", "2"],
  }, async (server) => {
    for (let round = 0; round < 3; round++) {
      await using open = new AsyncDisposableStack();
      for (let count = 0; count < 2; count++) {
        open.use(
          await until(async () => {
            const client = await FramedClient.connect(server);
            const isIn = await client.settle().then(() => true, () => false);
            if (!isIn) await client.close();
            return isIn ? client : undefined;
          }, "a place"),
        );
      }
      using conn = await Deno.connect({ hostname: server.host, port: server.port });
      assertEquals(await within(conn.read(new Uint8Array(1)).catch(() => null), "the end"), null);
    }
  }));
