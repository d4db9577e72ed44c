/** A server with TLS: clients of both dialects, proxies, and clients without TLS. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ClassicClient } from "../harness/classic_client.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, newUser } from "../harness/framed_client.ts";
import { FrameReader, objectFrame } from "../harness/frames.ts";
import { startNginx } from "../harness/nginx.ts";
import { runProgram } from "../harness/program.ts";
import { proxyHeaderV1, proxyHeaderV2, remoteAddresses, TRUSTING } from "../harness/proxy.ts";
import { Random } from "../harness/random.ts";
import { type Server, startServer, withServer } from "../harness/server.ts";
import { Authority, type Certificate, tlsArgs } from "../harness/tls.ts";
import { until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";
const encoder = new TextEncoder();

let authority: Authority;
let certificate: Certificate;
let server: Server; // with TLS, and with this machine as a trusted proxy

Deno.test.beforeAll(async () => {
  authority = await Authority.make();
  certificate = await authority.issue(HOST);
  server = await startServer({ args: [...tlsArgs(certificate), ...TRUSTING], ca: authority.ca });
});

Deno.test.afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await authority[Symbol.asyncDispose]();
});

/** Defines a test with that server, and shows the log when it fails. */
function test(name: string, body: () => Promise<void>): void {
  Deno.test(`tls: ${name}`, async () => {
    const from = server.logSize;
    try {
      await body();
    } catch (error) {
      server.showLog(from);
      throw error;
    }
  });
}

test("clients of both dialects exchange short and long messages", async () => {
  await using alice = await newUser(server);
  const { id } = await newUser(server).then(async (bob) => (await bob.close(), bob));
  await using classic = await ClassicClient.connect(server);
  await classic.enter(id);
  await alice.chat(id, "hello");
  assertEquals((await classic.next(Msg.ONE_CHAT)).msg, "hello");
  await classic.chat(alice.id, "hello yourself");
  assertEquals((await alice.next(Msg.ONE_CHAT)).msg, "hello yourself");
  const long = "long ".repeat(10_000);
  await using carol = await newUser(server);
  for (let at = 0; at < 20; at++) await alice.chat(carol.id, `${at} ${long}`);
  for (let at = 0; at < 20; at++) assertEquals((await carol.next(Msg.ONE_CHAT)).msg, `${at} ${long}`);
});

test("sends the last messages and a closing alert", async () => {
  await using client = await FramedClient.connect(server);
  await client.sendBytes(new Uint8Array([0xff, 0xff, 0xff, 0xff]));
  assertEquals((await client.next(() => true)).errno, Errno.TOO_LARGE);
  assertEquals(
    await within(client.closed, "the end"),
    "the connection was closed",
    "not fulfilled, as it failed",
  );
  await using other = await FramedClient.connect(server);
  for (let rid = 1; rid <= 50; rid++) await other.send({ msgid: Msg.PING, rid });
  await other.endWriting();
  assertEquals((await other.take(50, () => true)).map(({ rid }) => rid), [...Array(51).keys()].slice(1));
  assertEquals(await within(other.closed, "the end"), "the connection was closed");
});

test("reads a proxy header before the handshake, and not inside it", async () => {
  for (
    const [header, from] of [
      [proxyHeaderV1(1, { host: "192.0.2.1", port: 1 }), "192.0.2.1:1"],
      [proxyHeaderV2({ family: 2, source: { host: "2001:db8::4", port: 4 } }), "[2001:db8::4]:4"],
      [new Uint8Array(0), undefined],
    ] as const
  ) {
    const tcp = await Deno.connect({ hostname: HOST, port: server.port });
    if (header.length > 0) await tcp.write(header);
    using conn = await Deno.startTls(tcp, { hostname: HOST, caCerts: [authority.ca] });
    await conn.write(objectFrame({ msgid: Msg.ONE_CHAT }));
    const [reader, buffer] = [new FrameReader(), new Uint8Array(4_096)];
    while (reader.push(buffer.slice(0, (await within(conn.read(buffer), "a reply"))!)).length === 0);
    const own = `${HOST}:${(conn.localAddr as Deno.NetAddr).port}`;
    await until(
      () => remoteAddresses(server, "refused").includes(from ?? own),
      "the client's address in the log",
    );
  }
  using conn = await Deno.connect({ hostname: HOST, port: server.port });
  await conn.write(encoder.encode("PROXY nonsense\r\n"));
  assertEquals(await ended(conn), true);
});

test("takes the client address when nginx forwards TLS", async () => {
  await using nginx = await startNginx([server]);
  using conn = await Deno.connectTls({ hostname: nginx.host, port: nginx.port, caCerts: [authority.ca] });
  await conn.write(objectFrame({ msgid: Msg.ONE_CHAT }));
  const own = `${HOST}:${(conn.localAddr as Deno.NetAddr).port}`;
  await until(() => remoteAddresses(server, "refused").includes(own), "the client's address in the log");
});

test("takes the client address when nginx terminates TLS", () =>
  withServer({ args: TRUSTING }, async (server) => {
    await using nginx = await startNginx([server], certificate);
    const front = { host: nginx.host, port: nginx.port, ca: authority.ca };
    await using alice = await newUser(front);
    await using bob = await newUser(front);
    await alice.chat(bob.id, "hello");
    assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "hello");
    using conn = await Deno.connectTls({ hostname: nginx.host, port: nginx.port, caCerts: [authority.ca] });
    await conn.write(objectFrame({ msgid: Msg.ONE_CHAT }));
    const own = `${HOST}:${(conn.localAddr as Deno.NetAddr).port}`;
    await until(() => remoteAddresses(server, "refused").includes(own), "the client's address in the log");
    await bob.endWriting();
    await within(bob.closed, "the end");
  }));

test("closes and counts connections without TLS, and no other", async () => {
  await using valid = await FramedClient.connect(server);
  const random = new Random(5);
  const from = server.logSize;
  const start = (round: number) =>
    round % 4 === 0 ? objectFrame({ msgid: Msg.PING }) : random.bytes(100 + random.below(4_000));
  for (let round = 0; round < 100; round++) {
    using conn = await Deno.connect({ hostname: HOST, port: server.port });
    const bytes = start(round);
    if (round % 4 === 1) bytes.set([0x16, 3, 1, 0, 50]); // a record without a ClientHello
    await conn.write(bytes).catch(() => {}); // the server may have closed the connection
    if (round % 2 === 0) assertEquals(await ended(conn), true);
  }
  await valid.settle();
  await until(() => server.log(from).includes('"event":"TLS handshake failed"'), "a line in the log");
});

/** Returns whether the server closes the connection with at most a TLS alert. */
async function ended(conn: Deno.Conn): Promise<boolean> {
  const buffer = new Uint8Array(64);
  for (let size; (size = await within(conn.read(buffer).catch(() => null), "the end")) !== null;) {
    if (size !== 7 || buffer[0] !== 0x15) return false;
  }
  return true;
}

test("refuses versions before 1.2", async () => {
  const connects = async (...version: string[]) => {
    const args = ["s_client", "-connect", `${HOST}:${server.port}`, "-CAfile", authority.caFile, ...version];
    const { success } = await within(
      new Deno.Command("openssl", { args, stdin: "null", stdout: "null", stderr: "null" }).output(),
      "openssl's end",
    );
    return success;
  };
  assertEquals([await connects("-tls1_2"), await connects("-tls1_3")], [true, true]);
  assertEquals(await connects("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), false);
});

Deno.test("tls: is not blocked by a thousand silent connections, which end after the login timeout", () =>
  withServer(
    { args: [...tlsArgs(certificate), "--login-timeout", "3s"], ca: authority.ca },
    async (server) => {
      await using user = await newUser(server);
      const hello = Uint8Array.of(0x16, 3, 1, 0, 200, 1, 0);
      const silent: Deno.Conn[] = [];
      try {
        for (let at = 0; at < 1_000; at++) {
          const conn = await Deno.connect({ hostname: HOST, port: server.port });
          silent.push(conn);
          if (at % 2 === 1) await conn.write(hello); // and nothing more
        }
        await using other = await newUser(server);
        assertEquals((await other.chat(user.id, "hello")).errno, Errno.OK);
        await user.next(Msg.ONE_CHAT);
        for (const conn of silent) assertEquals(await ended(conn), true);
        await user.settle();
      } finally {
        for (const conn of silent) conn.close();
      }
    },
  ));

Deno.test("tls: the start exits with code 1 and names the files when they are invalid", async () => {
  await using other = await Authority.make();
  const { key } = await other.issue(HOST);
  const missing = `${certificate.cert}.not`;
  const wrong: readonly (readonly [Certificate, ...string[]])[] = [
    [{ ...certificate, cert: missing }, "--tls-cert", missing, "No such file"],
    [{ ...certificate, key: missing }, "--tls-key", missing, "No such file"],
    [{ ...certificate, cert: certificate.key }, "--tls-cert", certificate.key, "no certificate"],
    [{ ...certificate, key: certificate.cert }, "--tls-key", certificate.cert, "no private key"],
    [{ ...certificate, key }, "--tls-key", key, "is not the key"],
  ];
  const outcomes = await Promise.all(wrong.map(([files], at) => {
    const args = [HOST, "0", "--db", `${other.caFile}.${at}.db`, ...tlsArgs(files)];
    return runProgram("main.ts", args);
  }));
  for (const [at, { code, stderr }] of outcomes.entries()) {
    assertEquals([code, stderr.trim().split("\n").length], [1, 1], stderr);
    for (const words of wrong[at]!.slice(1)) assertStringIncludes(stderr, words as string);
  }
  const { code, stderr } = await runProgram("main.ts", [HOST, "0", "--tls-cert", certificate.cert]);
  assert(code === 2 && stderr.includes("--tls-cert needs --tls-key"), stderr);
});
