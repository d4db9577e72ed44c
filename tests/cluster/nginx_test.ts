/** The project's nginx configuration in a real nginx: the selection of servers, and the client address. */
import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { type ProxyHeader, readProxyHeader } from "../../lib/wire/proxy.ts";
import { ClassicClient } from "../harness/classic_client.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { newUser } from "../harness/framed_client.ts";
import { joined, objectFrame } from "../harness/frames.ts";
import { startNginx } from "../harness/nginx.ts";
import { remoteAddresses, TRUSTING } from "../harness/proxy.ts";
import { type Address, serverTest } from "../harness/server.ts";
import { until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A server that sends its name and then echoes, and records the headers. */
class Parrot implements Address, AsyncDisposable {
  readonly host = HOST;
  readonly headers: ProxyHeader[] = [];
  readonly #name: string;
  readonly #listener: Deno.TcpListener;
  readonly #serving: Promise<void>;
  readonly #conns = new Set<Promise<void>>();

  constructor(name: string, port = 0) {
    this.#name = name;
    this.#listener = Deno.listen({ hostname: HOST, port });
    this.#serving = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** Stops accepting; present clients stay connected. */
  async refuse(): Promise<void> {
    this.#listener.close();
    await this.#serving;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#listener.close();
    } catch {
      // the server has stopped accepting
    }
    await this.#serving;
    await Promise.all(this.#conns);
  }

  async #accept(): Promise<void> {
    try {
      for await (const conn of this.#listener) {
        const talk = this.#talk(conn).finally(() => this.#conns.delete(talk));
        this.#conns.add(talk);
      }
    } catch {
      // closed
    }
  }

  async #talk(conn: Deno.TcpConn): Promise<void> {
    using _ = conn;
    const buffer = new Uint8Array(1_024);
    let held: Uint8Array = new Uint8Array(0);
    for (
      let header: ProxyHeader | undefined, read;
      (read = await conn.read(buffer).catch(() => null)) !== null;
    ) {
      held = joined(held, buffer.subarray(0, read));
      if (!header) {
        const found = readProxyHeader(held);
        if (found instanceof Error) throw found;
        if (!found) continue;
        this.headers.push(header = found);
        await conn.write(encoder.encode(this.#name));
        held = held.slice(header.length);
      }
      if (held.length > 0) await conn.write(held);
      held = new Uint8Array(0);
    }
    await conn.write(encoder.encode("!")).catch(() => {}); // to a half-closed client that still reads
  }
}

/** Reads a number of characters, or to the end. */
async function heard(conn: Deno.Conn, length: number): Promise<string> {
  let text = "";
  const buffer = new Uint8Array(1_024);
  while (text.length < length) {
    const read = await within(conn.read(buffer), `${length} bytes`);
    if (read === null) break;
    text += decoder.decode(buffer.subarray(0, read));
  }
  return text;
}

/** Connects, and reads the name of the server. */
async function whoIs(at: Address): Promise<{ readonly conn: Deno.TcpConn; readonly name: string }> {
  const conn = await Deno.connect({ hostname: at.host, port: at.port });
  return { conn, name: await heard(conn, 1) };
}

Deno.test("nginx: forwards both directions and the client's address, also half-closed", async () => {
  await using a = new Parrot("a");
  await using nginx = await startNginx([a]);
  const { conn, name } = await whoIs(nginx);
  using _ = conn;
  assertEquals(name, "a");
  assertEquals(a.headers[0]?.source, { host: HOST, port: conn.localAddr.port });
  await conn.write(encoder.encode("hello"));
  assertEquals(await heard(conn, 5), "hello");
  await conn.closeWrite();
  assertEquals(
    await heard(conn, 2),
    "!",
    "what was said after the client had closed its sending, and then the end",
  );
});

Deno.test("nginx: selects the server with the fewest connections", async () => {
  await using a = new Parrot("a");
  await using b = new Parrot("b");
  await using nginx = await startNginx([a, b]);
  const there: Awaited<ReturnType<typeof whoIs>>[] = [];
  const count = (name: string) => there.filter((one) => one.name === name).length;
  try {
    while (there.length < 12) there.push(await whoIs(nginx));
    assertEquals([count("a"), count("b")], [6, 6]);
    // All connections of one server end: nginx sends the next ones there instead of alternating.
    for (const { conn } of there.filter(({ name }) => name === "b")) await leave(conn);
    there.splice(0, there.length, ...there.filter(({ name }) => name === "a"));
    const was = there.length;
    while (there.length < 2 * was) there.push(await whoIs(nginx));
    // Nginx may count an ended connection for a moment longer; alternation would send half of them there.
    assertGreaterOrEqual(count("b"), was - 1);
  } finally {
    for (const { conn } of there) conn.close();
  }
});

/** Closes a connection, and waits until nginx has noticed it. */
async function leave(conn: Deno.TcpConn): Promise<void> {
  await conn.closeWrite();
  while (await within(conn.read(new Uint8Array(64)), "the end") !== null);
  conn.close();
}

Deno.test("nginx: skips a dead server at once, and finds it when it recovers", async () => {
  await using a = new Parrot("a");
  const dead = new Parrot("b");
  const { port } = dead;
  await dead[Symbol.asyncDispose]();
  await using nginx = await startNginx([a, { host: HOST, port }]);
  for (let i = 0; i < 10; i++) {
    const { conn, name } = await whoIs(nginx);
    using _ = conn;
    assertEquals(name, "a");
  }
  await using _b = new Parrot("b", port);
  await until(async () => {
    const { conn, name } = await whoIs(nginx);
    using _ = conn;
    return name === "b";
  }, "the server that is back");
});

Deno.test("nginx: removes a server by a reload without ending its connections", async () => {
  await using a = new Parrot("a");
  await using b = new Parrot("b");
  await using nginx = await startNginx([{ ...address(a), down: true }, b]);
  const { conn, name } = await whoIs(nginx);
  using _ = conn;
  assertEquals(name, "b");
  await nginx.reload([a, { ...address(b), down: true }]);
  for (let i = 0; i < 6; i++) {
    const other = await whoIs(nginx);
    using _ = other.conn;
    assertEquals(other.name, "a");
  }
  await conn.write(encoder.encode("still here"));
  assertEquals(await heard(conn, 10), "still here");
});

function address({ host, port }: Address): Address {
  return { host, port };
}

serverTest(
  "nginx: serves clients of both dialects, whose addresses are in the log",
  { args: TRUSTING },
  async (server) => {
    await using nginx = await startNginx([server]);
    await using alice = await newUser(nginx);
    await using bob = await newUser(nginx);
    await using classic = await ClassicClient.connect(nginx);
    await bob.close();
    await classic.enter(bob.id);
    await alice.chat(bob.id, "hello");
    assertEquals((await classic.next(Msg.ONE_CHAT)).msg, "hello");
    await classic.chat(alice.id, "hello yourself");
    assertEquals((await alice.next(Msg.ONE_CHAT)).msg, "hello yourself");

    using conn = await Deno.connect({ hostname: nginx.host, port: nginx.port });
    await conn.write(objectFrame({ msgid: Msg.ONE_CHAT }));
    const { port } = conn.localAddr;
    await until(
      () => remoteAddresses(server, "refused").includes(`${HOST}:${port}`),
      "the client's address in the log",
    );
  },
);
