/** Connections of trusted proxies, which must have a proxy header when that is required. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import { requiresProxyHeader } from "../../lib/server/net/client_address.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { proxyHeaderV1, proxyHeaderV2, TRUSTING } from "../harness/proxy.ts";
import { type Server, sharedServer, withServer } from "../harness/server.ts";
import { until, within } from "../harness/wait.ts";

const MAX_CONNECTIONS = 3;
const REFUSED = "refused a connection of a trusted proxy";
const UNLIMITED = "no limit per address holds";
const PING = objectFrame({ msgid: Msg.PING });
const UNKNOWN = new TextEncoder().encode("PROXY UNKNOWN\r\n");
const LOCAL = proxyHeaderV2({ command: 0, family: 0, transport: 0 });
const LIMITS = [
  "--trusted-proxies",
  "127.0.0.1,10.0.0.0/8",
  "--max-connections-per-address",
  `${MAX_CONNECTIONS}`,
];

// The server listens on 127.0.0.1, a trusted address, so the header is required by default.
const test = sharedServer({ args: [...LIMITS, "--exempt-addresses", "127.0.0.0/8,203.0.113.0/24"] });

/** Sends bytes, waits for the end of the connection, and returns the received bytes. */
async function answerTo(server: Server, pieces: readonly Uint8Array[]): Promise<number> {
  using conn = await Deno.connect({ hostname: server.host, port: server.port });
  for (const piece of pieces) await conn.write(piece);
  const read = within(conn.read(new Uint8Array(64)).catch(() => null), "an answer, or the end");
  return await read ?? 0;
}

/** Returns the number of accepted connections of 2 · {@link MAX_CONNECTIONS} from one client. */
async function admitted(server: Server, header: Uint8Array): Promise<number> {
  await using open = new AsyncDisposableStack();
  let count = 0;
  for (let tried = 0; tried < 2 * MAX_CONNECTIONS; tried++) {
    const client = open.use(await FramedClient.connect(server));
    try {
      await client.sendBytes(header);
      await client.settle();
      count++;
    } catch {
      // the server closes the connection instead
    }
  }
  return count;
}

test("proxy-required: refuses a message without a proxy header, with a warning", async (server) => {
  assertEquals(await answerTo(server, [PING]), 0);
  await until(() => server.log().includes(REFUSED), "the warning");
  assertStringIncludes(server.log(), '"hint":"--proxy-required no accepts it"');
  for (const header of [UNKNOWN, LOCAL]) {
    assertEquals(await answerTo(server, [joined(header, PING)]), 0, "in one piece");
    assertEquals(await answerTo(server, [header, PING]), 0, "one after the other");
    const bytes = Array.from(header, (byte) => Uint8Array.of(byte));
    assertEquals(await answerTo(server, [...bytes, PING]), 0, "byte by byte");
  }
  assert(
    await answerTo(server, [proxyHeaderV1(1, { host: "192.0.2.9", port: 1 }), PING]) > 0,
    "a client that is named",
  );
});

test("proxy-required: counts the header's address, also a proxy's, unless it is exempt", async (server) => {
  for (const host of ["192.0.2.1", "127.0.0.1", "10.1.2.3"]) {
    assertEquals(await admitted(server, proxyHeaderV1(1, { host, port: 1 })), MAX_CONNECTIONS, host);
  }
  assertEquals(
    await admitted(server, proxyHeaderV2({ family: 2, source: { host: "::1", port: 1 } })),
    MAX_CONNECTIONS,
  );
  assertEquals(
    await admitted(server, proxyHeaderV1(1, { host: "203.0.113.7", port: 1 })),
    2 * MAX_CONNECTIONS,
    "exempt",
  );
  const warnings = server.log().split("\n").filter((text) => text.includes("names this machine or a proxy"));
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, '"host":"127.0.0.1"');
});

Deno.test("proxy-required: does not warn of a proxy that probes the port", () =>
  withServer({ args: [...LIMITS, "--proxy-header-timeout", "300ms"] }, async (server) => {
    for (const header of [UNKNOWN, LOCAL, new Uint8Array(0)]) {
      assertEquals(await answerTo(server, [header]), 0, "closed when the time for a header is over");
    }
    assert(!server.log().includes(REFUSED), server.log());
  }));

Deno.test("proxy-required: waits after a header without a client address", () =>
  withServer({ args: [...LIMITS, "--proxy-header-timeout", "10m"] }, async (server) => {
    for (const header of [UNKNOWN, LOCAL]) {
      using conn = await Deno.connect({ hostname: server.host, port: server.port });
      await conn.write(header);
      const end = conn.read(new Uint8Array(1)).then(() => "closed", () => "closed");
      // A later client gets a reply, so the server has read the bytes of this one.
      for (let count = 0; count < 3; count++) {
        assert(await admitted(server, proxyHeaderV1(1, { host: "192.0.2.8", port: 1 })) > 0);
      }
      assertEquals(await Promise.race([end, Promise.resolve("open")]), "open");
    }
  }));

Deno.test("proxy-required: takes a message without a header when it is off, with a warning", () =>
  withServer(
    { args: [...TRUSTING, "--max-connections-per-address", `${MAX_CONNECTIONS}`] },
    async (server) => {
      assert(await answerTo(server, [PING]) > 0);
      await until(() => server.log().includes(UNLIMITED), "the warning");
      for (const header of [UNKNOWN, LOCAL, proxyHeaderV1(1, { host: "127.0.0.1", port: 1 })]) {
        assertEquals(await admitted(server, header), 2 * MAX_CONNECTIONS);
      }
      assert(!server.log().includes(REFUSED));
    },
  ));

Deno.test("proxy-required: is on by default where only proxies can connect", () => {
  const required = (host: string, trustedProxies: string, proxyRequired: "auto" | "yes" | "no" = "auto") =>
    requiresProxyHeader({ ...defaults(), host, trustedProxies, proxyRequired });
  const cases: readonly (readonly [host: string, proxies: string, is: boolean])[] = [
    ["127.0.0.1", "127.0.0.1", true],
    ["127.0.0.1", "127.0.0.0/8", true],
    ["::1", "::1", true],
    ["localhost", "127.0.0.1", true],
    ["127.0.0.1", "", false],
    ["127.0.0.1", "10.0.0.0/8", false],
    ["0.0.0.0", "127.0.0.1", false],
    ["::", "::1", false],
    ["10.0.0.1", "10.0.0.0/8", false], // other hosts of that network can reach the server
  ];
  for (const [host, proxies, is] of cases) assertEquals(required(host, proxies), is, `${host} ${proxies}`);
  assertEquals([required("0.0.0.0", "10.0.0.0/8", "yes"), required("::1", "::1", "no")], [true, false]);
});
