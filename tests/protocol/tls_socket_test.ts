/** TLS on one connection: transfer, backpressure, end, and bytes that are no TLS. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createSecureContext, type SecureContext } from "node:tls";
import { TlsSocket } from "../../lib/server/net/tls_socket.ts";
import { joined } from "../harness/frames.ts";
import { proxyHeaderV1 } from "../harness/proxy.ts";
import { Random } from "../harness/random.ts";
import { Authority } from "../harness/tls.ts";
import { pause, until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";
const MEBIBYTE = 1_048_576;
const MORE_THAN_BUFFERS = 64 * MEBIBYTE; // bytes: more than the buffers of both sides
const STALL_MS = 500; // milliseconds without progress, after which the connection counts as blocked

const encoder = new TextEncoder();
const decoder = new TextDecoder();

let ca = "";
let secureContext: SecureContext;

Deno.test.beforeAll(async () => {
  await using authority = await Authority.make();
  const { cert, key } = await authority.issue(HOST);
  secureContext = createSecureContext({ cert: Deno.readTextFileSync(cert), key: Deno.readTextFileSync(key) });
  ca = authority.ca;
});

/** The server side of a connection, and the bytes before the handshake. */
class Side implements Disposable {
  readonly socket: TlsSocket;
  readonly failures: string[] = [];
  prefaced = "";
  #isBehind = false;

  constructor(tcp: Deno.TcpConn, prefaceBytes: number) {
    this.socket = new TlsSocket(tcp, {
      secureContext,
      proxyHeader: {
        stripHeader: (bytes) => {
          assert(!this.#isBehind, "the client is sent nothing more after its end");
          const wanted = prefaceBytes - this.prefaced.length;
          this.prefaced += decoder.decode(bytes.subarray(0, wanted));
          this.#isBehind = this.prefaced.length === prefaceBytes;
          return this.#isBehind ? bytes.subarray(wanted) : undefined;
        },
      },
      onHandshakeError: ({ message }) => this.failures.push(message),
    });
  }

  /** Reads a number of bytes, or to the end. */
  async read(count: number): Promise<string> {
    const buffer = new Uint8Array(1_000);
    let text = "";
    while (text.length < count) {
      const size = await within(this.socket.read(buffer), "bytes");
      if (size === null) break;
      text += decoder.decode(buffer.subarray(0, size));
    }
    return text;
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }
}

/** Returns both sides of a TCP connection. The server side expects a number of bytes before the handshake. */
async function pair(prefaceBytes = 0): Promise<{ tcp: Deno.TcpConn; side: Side }> {
  using listener = Deno.listen({ hostname: HOST, port: 0 });
  const [tcp, accepted] = await Promise.all([
    Deno.connect({ hostname: HOST, port: listener.addr.port }),
    listener.accept(),
  ]);
  return { tcp, side: new Side(accepted, prefaceBytes) };
}

/** Returns both sides after the handshake and a byte from the client. */
async function secured(): Promise<{ client: Deno.TlsConn; side: Side }> {
  const { tcp, side } = await pair();
  const client = await Deno.startTls(tcp, { hostname: HOST, caCerts: [ca] });
  const [first] = await Promise.all([side.read(1), client.write(encoder.encode("!"))]);
  assertEquals(first, "!");
  return { client, side };
}

async function writeAll(to: Pick<Deno.Conn, "write">, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

/** Writes until the connection is blocked, and returns the bytes written. Throws when it never blocks. */
async function fill(to: Pick<Deno.Conn, "write">): Promise<{ taken: () => number; ended: Promise<void> }> {
  const bytes = new Uint8Array(65_536);
  let [taken, isOver] = [0, false];
  const ended = (async () => {
    while (taken < MORE_THAN_BUFFERS) taken += await to.write(bytes);
  })().catch(() => {}).finally(() => isOver = true);
  for (let before = -1; before !== taken && !isOver;) {
    before = taken;
    await pause(STALL_MS);
  }
  assert(taken < MORE_THAN_BUFFERS, `${taken} bytes were taken that are not read`);
  return { taken: () => taken, ended };
}

Deno.test("tls socket: carries megabytes both ways in order", async () => {
  const { client, side } = await secured();
  using _client = client;
  using _side = side;
  const sent = new Random(1).bytes(3 * MEBIBYTE);
  const got = new Uint8Array(sent.length);
  const echo = async () => {
    const buffer = new Uint8Array(10_000);
    for (let at = 0; at < sent.length;) {
      const size = await side.socket.read(buffer);
      at += size!;
      await writeAll(side.socket, buffer.slice(0, size!));
    }
  };
  const read = async () => {
    for (let at = 0; at < got.length;) at += (await client.read(got.subarray(at)))!;
  };
  await within(Promise.all([writeAll(client, sent), echo(), read()]), "the echo");
  assertEquals(got, sent);
});

Deno.test("tls socket: takes 64 KiB of a long write, so that the progress of a slow client is seen", async () => {
  const { client, side } = await secured();
  using _client = client;
  using _side = side;
  assertEquals(await within(side.socket.write(new Uint8Array(200_000)), "the write"), 65_536);
});

Deno.test("tls socket: blocks a client whose bytes are not read, and loses nothing", async () => {
  const { client, side } = await secured();
  using _client = client;
  using _side = side;
  const { taken, ended } = await fill(client);
  const buffer = new Uint8Array(100_000);
  let read = 0;
  while (read < MORE_THAN_BUFFERS) read += (await within(side.socket.read(buffer), "what was held up"))!;
  await ended;
  assertEquals(read, taken());
});

Deno.test("tls socket: blocks the server while a client does not read, and loses nothing", async () => {
  const { client, side } = await secured();
  using _client = client;
  using _side = side;
  const { taken, ended } = await fill(side.socket);
  const buffer = new Uint8Array(100_000);
  let read = 0;
  while (read < MORE_THAN_BUFFERS) read += (await within(client.read(buffer), "what was held up"))!;
  await ended;
  assertEquals(read, taken());
});

Deno.test("tls socket: reads the other direction to its end after either side closes its own", async () => {
  {
    const { client, side } = await secured();
    using _client = client;
    using _side = side;
    await client.write(encoder.encode("last"));
    await client.closeWrite();
    assertEquals(await side.read(5), "last");
    await writeAll(side.socket, encoder.encode("an answer"));
    await side.socket.closeWrite();
    const heard = await within(new Response(client.readable).text(), "the answer and the end");
    assertEquals(heard, "an answer", "and the end is said, not just there");
  }
  const { client, side } = await secured();
  using _client = client;
  using _side = side;
  await side.socket.closeWrite();
  assertEquals(await within(client.read(new Uint8Array(1)), "the end"), null);
  await client.write(encoder.encode("more"));
  assertEquals(await side.read(4), "more");
});

Deno.test("tls socket: closes although the client does not read", async () => {
  const { client, side } = await secured();
  using _client = client;
  const { ended } = await fill(side.socket);
  await within(side.socket.closeWrite(), "the end of the server's sending");
  const reading = side.socket.read(new Uint8Array(1));
  side.socket.close();
  await within(ended, "the writer");
  assertEquals(await within(reading, "the reader"), null);
});

Deno.test("tls socket: separates the bytes before the handshake, however they are split", async () => {
  const header = proxyHeaderV1(1, { host: "192.0.2.1", port: 1 });
  using listener = Deno.listen({ hostname: HOST, port: 0 });
  for (
    const [count, rest] of [[1, 0], [header.length - 1, 1], [header.length, 0], [header.length, 10]] as const
  ) {
    const { tcp, side } = await pair(header.length);
    using _side = side;
    using _tcp = tcp;
    // A proxy of the test puts the header before the client's first bytes.
    const [client, front] = await Promise.all([
      Deno.connect({ hostname: HOST, port: listener.addr.port }).then((conn) =>
        Deno.startTls(conn, { hostname: HOST, caCerts: [ca] })
      ),
      listener.accept(),
    ]);
    using _client = client;
    using _front = front;
    const shaking = client.handshake();
    const hello = new Uint8Array(4_096);
    const size = await front.read(hello);
    const all = joined(header, hello.subarray(0, size!));
    const reading = side.read(5);
    await tcp.write(all.subarray(0, count + rest));
    await pause(20);
    await writeAll(tcp, all.subarray(count + rest));
    const back = tcp.readable.pipeTo(front.writable).catch(() => {});
    const forth = front.readable.pipeTo(tcp.writable).catch(() => {});
    await within(shaking, "the handshake");
    await client.write(encoder.encode("hello"));
    assertEquals([await reading, side.prefaced], ["hello", decoder.decode(header)]);
    side.socket.close();
    client.close();
    await Promise.all([back, forth]);
  }
});

Deno.test("tls socket: fails once when the bytes are no TLS, however they are split", async () => {
  const random = new Random(3);
  for (let round = 0; round < 60; round++) {
    const { tcp, side } = await pair();
    using _side = side;
    using _tcp = tcp;
    const bytes = random.bytes(1 + random.below(4_000));
    if (round % 3 === 0) bytes.set([0x16, 3, 1, 0]); // the beginning of a handshake
    const reading = side.socket.read(new Uint8Array(10));
    await tcp.write(bytes);
    await tcp.closeWrite();
    const end = await within(reading.catch((error: Error) => error), "its end");
    if (end instanceof Error) assertEquals(side.failures.length, 1, end.message);
    else assertEquals([end, side.failures], [null, []], "an attempt in progress is no failure");
  }
});

Deno.test("tls socket: can be closed at any time before the end of the handshake", async () => {
  const hello = Uint8Array.of(0x16, 3, 1, 0, 100, 1);
  for (const bytes of [new Uint8Array(0), hello.subarray(0, 1), hello]) {
    for (const wait of [0, 0, 5]) {
      const { tcp, side } = await pair();
      using _tcp = tcp;
      const reading = side.socket.read(new Uint8Array(10)).catch(() => null);
      if (bytes.length > 0) await tcp.write(bytes);
      if (wait > 0) await pause(wait);
      await assertRejects(() => side.socket.closeWrite());
      side.socket.close();
      assertEquals(await within(reading, "the reader's end"), null);
      assertEquals(await within(tcp.read(new Uint8Array(10)).catch(() => null), "the peer's end"), null);
    }
  }
  // A client that disconnects during the handshake.
  const { tcp, side } = await pair();
  using _side = side;
  const reading = side.socket.read(new Uint8Array(10)).catch(() => null);
  await tcp.write(hello);
  tcp.close();
  await until(async () => await reading === null, "its end");
});
