/** The project's own nginx configuration, run by a real nginx: where connections go, and what the servers learn of them. */
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

/** A server that says its name to every client and then what it is told, and keeps what headers it was sent. */
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

  /** Accepts no more; the clients that are here may stay. */
  async refuse(): Promise<void> {
    this.#listener.close();
    await this.#serving;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#listener.close();
    } catch {
      // it accepts no more
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
    await conn.write(encoder.encode("!")).catch(() => {}); // the last word, to a client that still reads
  }
}

/** Reads until that much text has come, or the end. */
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

/** Connects, and reads which server it has come to. */
async function whoIs(at: Address): Promise<{ readonly conn: Deno.TcpConn; readonly name: string }> {
  const conn = await Deno.connect({ hostname: at.host, port: at.port });
  return { conn, name: await heard(conn, 1) };
}

Deno.test("nginx: bytes go both ways, the server learns the client's address, and one way may end before the other", async () => {
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

Deno.test("nginx: connections go to the server that has the fewest", async () => {
  await using a = new Parrot("a");
  await using b = new Parrot("b");
  await using nginx = await startNginx([a, b]);
  const there: Awaited<ReturnType<typeof whoIs>>[] = [];
  const count = (name: string) => there.filter((one) => one.name === name).length;
  try {
    while (there.length < 12) there.push(await whoIs(nginx));
    assertEquals([count("a"), count("b")], [6, 6]);
    // All that one has end: the next ones make up for it, instead of taking turns.
    for (const { conn } of there.filter(({ name }) => name === "b")) await leave(conn);
    there.splice(0, there.length, ...there.filter(({ name }) => name === "a"));
    const was = there.length;
    while (there.length < 2 * was) there.push(await whoIs(nginx));
    // Nginx may count one that has just ended for a moment more; by turns it would be half of them.
    assertGreaterOrEqual(count("b"), was - 1);
  } finally {
    for (const { conn } of there) conn.close();
  }
});

/** Closes a connection and resolves when nginx has seen it. */
async function leave(conn: Deno.TcpConn): Promise<void> {
  await conn.closeWrite();
  while (await within(conn.read(new Uint8Array(64)), "the end") !== null);
  conn.close();
}

Deno.test("nginx: a dead server is passed over at once, and found again when it is back", async () => {
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

Deno.test("nginx: a reload takes a server out without ending its connections", async () => {
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
  "nginx: clients of both dialects, with their own addresses in the log",
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
