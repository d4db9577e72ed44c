/** A server with as many connections as its limit of open files permits: all other work goes on. */
import { assert, assertEquals } from "@std/assert";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, newUser, register } from "../harness/framed_client.ts";
import { startMariadb } from "../harness/mariadb.ts";
import { freePort } from "../harness/ports.ts";
import { startRedis } from "../harness/redis.ts";
import { type Server, withServer } from "../harness/server.ts";
import { needTool } from "../harness/tools.ts";
import { pause, until, within } from "../harness/wait.ts";
import { assertRoom, LIMIT, LONG_TIMEOUTS, openFilesOf, possibleOf } from "../protocol/open_files_fixture.ts";

const SILENT_CONNECTIONS = 300; // more connections than the limit permits

/** Connected clients without a login: as many as the MySQL connections of a test. */
const UNAUTHENTICATED = 40;

/** Silent connections. */
class SilentOnes implements AsyncDisposable {
  closed = 0;
  readonly #all: Promise<void>[] = [];
  readonly #open = new Set<Deno.TcpConn>();

  async connect(port: number, count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      this.#open.add(conn);
      this.#all.push(this.#watch(conn));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const conn of this.#open) conn.close();
    this.#open.clear();
    await Promise.all(this.#all);
  }

  async #watch(conn: Deno.TcpConn): Promise<void> {
    await conn.read(new Uint8Array(1)).catch(() => null);
    if (!this.#open.delete(conn)) return;
    conn.close();
    this.closed++;
  }
}

/**
 * Fills the server with silent connections. Asserts that connected clients can do everything, that further
 * connections are closed, and that slots are free again when the silent ones have ended.
 */
async function fill(
  server: Server,
  workers = 1,
  beside: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const possible = possibleOf(server);
  await using open = new AsyncDisposableStack();
  const friend = await register(server, "friend");
  const alice = open.use(await newUser(server, "alice"));
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: friend });
  const bob = open.use(await newUser(server, "bob"));
  const unauthenticated: FramedClient[] = [];
  for (let i = 0; i < UNAUTHENTICATED; i++) {
    unauthenticated.push(open.use(await FramedClient.connect(server)));
  }
  for (const client of unauthenticated) await client.settle(); // the server has accepted it
  const known = unauthenticated.length + 2;
  {
    await using silent = new SilentOnes();
    await silent.connect(server.port, SILENT_CONNECTIONS * workers);
    const refused = SILENT_CONNECTIONS * workers + known - possible;
    await until(() => silent.closed >= refused, "those over the most to be closed");
    if (workers === 1) assertEquals(silent.closed, refused, "not one more");
    await beside();
    // More at the same time than there are connections to a database.
    const ids = await Promise.all(unauthenticated.map((client, i) => client.register(`client ${i}`)));
    const [first, ...others] = unauthenticated;
    await first!.login({ id: friend });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    await Promise.all(others.map((client, i) => client.login({ id: ids[i]! })));
    await alice.chat(friend, "to a friend");
    assertEquals((await first!.next(Msg.ONE_CHAT)).msg, "to a friend");
    await others[0]!.chat(bob.id, "to a client");
    assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "to a client");
    await using late = await FramedClient.connect(server);
    if (workers === 1) await late.serverCloses();
    assertRoom(server);
  }
  const newcomer = open.use(
    await until(
      () => newUser(server, `new ${crypto.randomUUID()}`).catch(() => undefined),
      "room for a newcomer",
    ),
  );
  await newcomer.chat(alice.id, "hello");
  assertEquals((await alice.next(Msg.ONE_CHAT)).msg, "hello");
  assertRoom(server);
}

Deno.test("open files: 300 silent connections at a limit of 256 do not keep others from chatting", () =>
  withServer({ openFiles: LIMIT, args: LONG_TIMEOUTS }, (server) => fill(server)));

Deno.test("open files: the same with workers", () =>
  withServer({ openFiles: LIMIT, args: ["--workers", "2", ...LONG_TIMEOUTS] }, (server) => fill(server, 2)));

Deno.test("open files: the same with a full health port", async () => {
  const port = freePort();
  const args = ["--health-port", `${port}`, ...LONG_TIMEOUTS];
  await withServer({ openFiles: LIMIT, args }, async (server) => {
    await using mute = new SilentOnes();
    await fill(server, 1, async () => {
      await mute.connect(port, 100);
      const response = await fetch(`http://127.0.0.1:${port}/ready`);
      assertEquals(await response.json(), { ready: true });
    });
  });
});

Deno.test("open files: the same with MySQL, and an outage of Redis", async () => {
  await using mariadb = await startMariadb();
  await using database = await mariadb.fresh();
  await using redis = await startRedis();
  const args = [
    "--mysql",
    database.url,
    "--redis",
    redis.url,
    "--mysql-connections",
    `${UNAUTHENTICATED}`,
    ...LONG_TIMEOUTS,
  ];
  await withServer({ openFiles: LIMIT, args }, (server) =>
    fill(server, 1, async () => {
      const from = server.logSize;
      await redis.stop();
      await until(() => server.log(from).includes("Redis"), "Redis to be missed");
      await redis.start();
      await until(async () =>
        Number(await redis.command("PUBSUB", "NUMPAT")) >= 0 &&
        (await redis.command("PUBSUB", "CHANNELS")).length > 0, "the server to be back on Redis");
    }));
});

/** Threads with an event loop of their own, counted twice. */
function eventLoopsOf({ pid }: Server): number {
  return openFilesOf(pid).filter((file) => file.includes("eventpoll")).length;
}

Deno.test("open files: no thread starts after the server listens", () =>
  withServer({ args: LONG_TIMEOUTS }, async (server) => {
    const before = eventLoopsOf(server);
    await using user = await newUser(server);
    const { size } = await Deno.stat(server.db);
    await until(async () => {
      await user.chat(user.id + 1, "x").catch(() => {});
      await register(server, crypto.randomUUID());
      await pause(50);
      return (await Deno.stat(server.db)).size > size;
    }, "the write-ahead log to be copied");
    assertEquals(eventLoopsOf(server), before);
  }));

Deno.test("open files: failed accepts are logged once a minute, and connections wait", async () => {
  await needTool("prlimit", "util-linux");
  const port = freePort();
  await withServer({ args: ["--health-port", `${port}`] }, async (server) => {
    const allow = async (count: number) => {
      const args = [`--pid=${server.pid}`, `--nofile=${count}:`];
      assert((await new Deno.Command("prlimit", { args }).output()).success);
    };
    await using user = await newUser(server);
    await allow(3); // open files stay open, but no further one is possible
    await using waiting = await FramedClient.connect(server);
    let isIn = false;
    const greeting = waiting.settle().then(() => isIn = true);
    const health = fetch(`http://127.0.0.1:${port}/live`);
    health.catch(() => {}); // the test waits for it below
    await until(() => server.log().match(/"accept failed/g)?.length === 2, "a line for each port");
    await pause(1_500); // time for more attempts, and for another line if there were one each second
    await user.settle();
    assert(!isIn, "accepts failed all the time");
    await allow(LIMIT);
    await within(greeting, "the connection that waited");
    assertEquals((await within(health, "the request that waited")).status, 200);
    assertEquals(
      server.log().match(/"accept failed.*"error":"Too many open files[^}]*"count":1}/g)?.length,
      2,
      server.log(),
    );
    assertEquals(server.log().match(/"accept failed/g)?.length, 2, server.log());
    await health.then((response) => response.body?.cancel());
  });
});
