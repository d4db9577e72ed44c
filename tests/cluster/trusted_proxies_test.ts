/** A real server with PROXY headers of trusted and untrusted addresses. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { classicBytes } from "../harness/classic_client.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { FrameReader, joined, objectFrame } from "../harness/frames.ts";
import { startNginx } from "../harness/nginx.ts";
import { proxyHeaderV1, proxyHeaderV2, remoteAddresses, TRUSTING } from "../harness/proxy.ts";
import { serverTest, withServer } from "../harness/server.ts";
import { pause, until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";
const encoder = new TextEncoder();

/** Milliseconds between two writes, which are then most likely read apart. */
const WRITE_INTERVAL_MS = 30;

serverTest("proxy: takes a header of either version, however split, or none from a trusted address", {
  args: TRUSTING,
}, async (server) => {
  const ping = objectFrame({ msgid: 99, rid: 1 });
  const cases: readonly (readonly [header: Uint8Array, from: string | undefined])[] = [
    [proxyHeaderV1(1, { host: "192.0.2.1", port: 1 }), "192.0.2.1:1"],
    [proxyHeaderV1(2, { host: "2001:db8::1", port: 2 }), "[2001:db8::1]:2"],
    [
      proxyHeaderV2({ family: 1, source: { host: "192.0.2.3", port: 3 }, more: new Uint8Array(2_000) }),
      "192.0.2.3:3",
    ],
    [proxyHeaderV2({ family: 2, source: { host: "2001:db8::4", port: 4 } }), "[2001:db8::4]:4"],
    [proxyHeaderV2({ command: 0, family: 0, transport: 0 }), undefined],
    [encoder.encode("PROXY UNKNOWN\r\n"), undefined],
    [new Uint8Array(0), undefined],
  ];
  for (const [header, from] of cases) {
    const whole = joined(header, ping);
    const steps = [whole.length, header.length || 1, 1];
    for (const step of header.length > 1_000 ? [whole.length, 999] : steps) {
      using conn = await Deno.connect({ hostname: server.host, port: server.port });
      conn.setNoDelay(true);
      const seen = remoteAddresses(server, "refused").length;
      for (let at = 0; at < whole.length; at += step) await conn.write(whole.subarray(at, at + step));
      assertEquals((await reply(conn)).errno, Errno.BAD_REQUEST);
      const told = await until(() => remoteAddresses(server, "refused")[seen], "a line in the log");
      assertEquals(told, from ?? `${HOST}:${conn.localAddr.port}`);
    }
  }
});

serverTest(
  "proxy: takes the bytes after a header for a message, whatever they are",
  { args: TRUSTING },
  async (server) => {
    const header = proxyHeaderV1(1, { host: "192.0.2.1", port: 1 });
    using framed = await Deno.connect({ hostname: server.host, port: server.port });
    const whole = objectFrame({ msgid: 99, word: "PROXY" });
    const middle = whole.indexOf(0x50);
    for (const piece of [header, whole.slice(0, middle), whole.slice(middle)]) {
      await framed.write(piece);
      await pause(WRITE_INTERVAL_MS);
    }
    assertEquals((await reply(framed)).errno, Errno.BAD_REQUEST);
    // The first byte after the header determines the dialect, also when it arrives alone.
    using classic = await Deno.connect({ hostname: server.host, port: server.port });
    await classic.write(header);
    await pause(WRITE_INTERVAL_MS);
    await classic.write(classicBytes({ msgid: Msg.LOGIN, id: 1, password: "wrong" }));
    const buffer = new Uint8Array(1_024);
    const read = await within(classic.read(buffer), "a reply");
    assertEquals([buffer[0], buffer[read! - 1]], [0x7b, 0], "an object and a NUL");
  },
);

/** Returns the next message of a framed connection. */
async function reply(conn: Deno.Conn): Promise<{ readonly errno?: number }> {
  const [reader, buffer] = [new FrameReader(), new Uint8Array(4_096)];
  for (;;) {
    const read = await within(conn.read(buffer), "a reply");
    if (read === null) throw new Error("the connection was closed instead");
    const [body] = reader.push(buffer.slice(0, read));
    if (body !== undefined) return JSON.parse(body) as { errno?: number };
  }
}

serverTest("proxy: closes the connection and logs a malformed header of a trusted address", {
  args: TRUSTING,
}, async (server) => {
  for (const bytes of [encoder.encode("PROXY nonsense\r\n"), Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0b)]) {
    using conn = await Deno.connect({ hostname: server.host, port: server.port });
    await conn.write(bytes);
    const end = await within(conn.read(new Uint8Array(64)).catch(() => null), "the end");
    assertEquals(end, null, "closed without a word");
  }
  assertStringIncludes(server.log(), "malformed PROXY header");
  await using client = await FramedClient.connect(server);
  await client.settle();
});

Deno.test("proxy: refuses a header of an untrusted address, and logs the remedy", () =>
  withServer({}, async (server) => {
    await using client = await FramedClient.connect(server);
    await client.settle();
    assert(!server.log().includes("--trusted-proxies"), "nothing is said of those who send none");
    await using nginx = await startNginx([server]);
    using conn = await Deno.connect({ hostname: nginx.host, port: nginx.port });
    await conn.write(objectFrame({ msgid: Msg.PING }));
    assertEquals((await reply(conn)).errno, Errno.TOO_LARGE);
    await until(() => server.log().includes("--trusted-proxies"), "the warning");
    const [warning, ...more] = server.log().split("\n").filter((text) => text.includes("--trusted-proxies"));
    assertEquals(more, []);
    assert(warning!.includes('"warn"') && warning!.includes(`"${HOST}:`));
    using direct = await Deno.connect({ hostname: server.host, port: server.port });
    await direct.write(proxyHeaderV1(1, { host: "192.0.2.1", port: 1 }));
    assertEquals((await reply(direct)).errno, Errno.TOO_LARGE);
  }));
