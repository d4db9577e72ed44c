/** The health port for load balancers: readiness for connections, and liveness of the process. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Log } from "../../lib/log.ts";
import { HealthServer, MAX_CONNECTIONS } from "../../lib/server/net/health.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { newUser } from "../harness/framed_client.ts";
import { freePort } from "../harness/ports.ts";
import { runProgram } from "../harness/program.ts";
import { type Server, withServer } from "../harness/server.ts";
import { until, within } from "../harness/wait.ts";

const HOST = "127.0.0.1";

/** Runs `body` with a server and its health port. */
async function test(
  name: string,
  args: readonly string[],
  body: (server: Server, port: number) => Promise<void>,
): Promise<void> {
  await Deno.test(name, async () => {
    const port = freePort();
    await withServer(
      { args: ["--health-port", `${port}`, ...args] },
      (server) => body(server, port),
    );
  });
}

/** Requests a path and returns status and body, or undefined when no server listens. */
async function ask(port: number, path: string, method = "GET"): Promise<[number, unknown] | undefined> {
  try {
    const response = await fetch(`http://${HOST}:${port}${path}`, { method });
    return [response.status, await response.json()];
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** Sends bytes unchanged and reads the complete reply. */
async function askRaw(port: number, request: string): Promise<string> {
  using conn = await Deno.connect({ hostname: HOST, port });
  await conn.write(new TextEncoder().encode(request));
  return await within(new Response(conn.readable).text(), "the answer's end");
}

test(
  "health: reports ready while the node listens, and 503 while it drains",
  [],
  async (server, port) => {
    await using client = await newUser(server);
    assertEquals(await ask(port, "/ready"), [200, { ready: true }]);
    assertEquals(await ask(port, "/live"), [200, { live: true }]);
    server.kill("SIGTERM");
    await client.next(Msg.NOTICE);
    assertEquals(await ask(port, "/ready"), [503, { ready: false }]);
    assertEquals(await ask(port, "/live"), [200, { live: true }]);
    await client.settle(); // the server still serves it
    await client.close();
    assertEquals(await server.wait(), 0);
    assertEquals(await ask(port, "/ready"), undefined);
  },
);

test("health: has one port for all workers", ["--workers", "2"], async (server, port) => {
  await using client = await newUser(server);
  assertEquals(await ask(port, "/ready"), [200, { ready: true }]);
  server.kill("SIGTERM");
  await client.next(Msg.NOTICE);
  assertEquals(await ask(port, "/ready"), [503, { ready: false }]);
  await client.close();
  assertEquals(await server.wait(), 0);
});

for (const args of [[], ["--workers", "2"]]) {
  test(`health: reports 503 when the database file is lost ${args.join(" ")}`, args, async (server, port) => {
    assertEquals(await ask(port, "/ready"), [200, { ready: true }]);
    await Deno.remove(server.db);
    const isReady = async () => (await ask(port, "/ready"))?.[0] === 200;
    await until(async () => !await isReady(), "a server that isn't ready");
    assertEquals(await ask(port, "/ready"), [503, { ready: false }]);
    assertEquals(await ask(port, "/live"), [200, { live: true }]);
    server.kill("SIGTERM");
    assertEquals(await server.wait(), 1);
  });
}

Deno.test("health: listens on the configured address only", async () => {
  const [port, own] = [freePort(), "127.0.0.2"];
  await withServer({ args: ["--health-port", `${port}`, "--health-host", own] }, async (server) => {
    const response = await fetch(`http://${own}:${port}/ready`);
    assertEquals([response.status, await response.json()], [200, { ready: true }]);
    assertEquals(await ask(port, "/ready"), undefined, "not where the chat port is");
    await using client = await newUser(server);
    await client.settle();
  });
  const args = ["127.0.0.1", "0", "--health-port", `${port}`, "--health-host", "192.0.2.1"];
  const { code, stderr } = await runProgram("main.ts", args); // an address that this machine does not have
  assertEquals(code, 1);
  assertStringIncludes(stderr, `Cannot listen on 192.0.2.1:${port}`);
});

test("health: refuses other requests, and closes connections without one", [], async (server, port) => {
  for (const path of ["/", "/ready/", "/metrics", "//ready"]) {
    assertEquals((await ask(port, path))?.[0], 404, path);
  }
  assertEquals((await ask(port, "/ready?from=a-balancer"))?.[0], 200);
  for (const method of ["POST", "PUT", "DELETE"]) {
    assertEquals((await ask(port, "/ready", method))?.[0], 405, method);
  }
  assertStringIncludes(await askRaw(port, "GET /ready HTTP/1.0\r\n\r\n"), "200 OK\r\n");
  for (const nonsense of ["\r\n\r\n", "GET /ready\r\n\r\n", "{}\r\n\r\n", "\0\0\0\x05hello\r\n\r\n"]) {
    assertStringIncludes(await askRaw(port, nonsense), "400 Bad Request", JSON.stringify(nonsense));
  }
  const endless = `GET /ready HTTP/1.1\r\nX: ${"x".repeat(100_000)}`;
  assertEquals(
    await askRaw(port, endless).catch(() => ""),
    "",
    "a connection with an overlong object is closed without a reply",
  );
  // Silent connections beyond the limit do not keep a request from a reply, and are closed.
  const mute = await Promise.all(Array.from({ length: 200 }, () => Deno.connect({ hostname: HOST, port })));
  assertEquals(await ask(port, "/ready"), [200, { ready: true }]);
  await Promise.all(mute.map(async (conn) => {
    const end = await within(conn.read(new Uint8Array(1)).catch(() => null), "the server to close");
    assertEquals(end, null);
    conn.close();
  }));
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 0);
});

Deno.test("health: closes the oldest connection when one more comes than its limit (I7)", async () => {
  const port = freePort();
  await using _health = new HealthServer(HOST, port, new Log("error", "text", () => {}));
  const conns: Deno.Conn[] = [];
  while (conns.length <= MAX_CONNECTIONS) conns.push(await Deno.connect({ hostname: HOST, port }));
  try {
    const [oldest, next] = conns as [Deno.Conn, Deno.Conn];
    assertEquals(await within(oldest.read(new Uint8Array(1)).catch(() => null), "the end"), null);
    await next.write(new TextEncoder().encode("GET /live HTTP/1.1\r\n\r\n"));
    const reply = new Uint8Array(1_024);
    const size = await next.read(reply);
    assertStringIncludes(new TextDecoder().decode(reply.subarray(0, size ?? 0)), "200 OK", "still served");
  } finally {
    for (const conn of conns) conn.close();
  }
});

Deno.test("health: reports 503 during the start, which fails when its port is in use", async () => {
  const port = freePort();
  // A MySQL server that accepts connections and sends nothing, for which the server waits.
  using database = Deno.listen({ hostname: HOST, port: 0 });
  const url = `mysql://nobody:nothing@${HOST}:${database.addr.port}/chat`;
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  const starting = runProgram("main.ts", [
    ...[HOST, "0", "--health-port", `${port}`, "--mysql", url],
  ]);
  try {
    using _conn = await within(database.accept(), "the server to ask its database");
    const answer = await until(() => ask(port, "/ready"), "the health port");
    assertEquals(answer, [503, { ready: false }]);
    const second = await runProgram("main.ts", [
      ...[HOST, "0", "--health-port", `${port}`, "--db", `${folder}/chat.db`],
    ]);
    assertEquals(second.code, 1);
    assertStringIncludes(second.stderr, `${HOST}:${port}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const { code } = await starting; // the database server has ended
  assert(code === 1);
});
