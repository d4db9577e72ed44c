/** The limit of open files: connections are capped below it, so that everything else always has room. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { defaults } from "../lib/config/config.ts";
import type { Config } from "../lib/config/options.ts";
import { Log } from "../lib/log.ts";
import {
  type FileRoom,
  fitToOpenFiles,
  measureFileRoom,
  MOMENTARY_FILES,
  reservedFiles,
} from "../lib/open_files.ts";
import { Msg } from "./harness/contract.ts";
import { FramedClient, login, newUser, PASSWORD, register } from "./harness/framed_client.ts";
import { startMariadb } from "./harness/mariadb.ts";
import { freePort } from "./harness/ports.ts";
import { cleanEnv, ROOT, writableFolder } from "./harness/program.ts";
import { startRedis } from "./harness/redis.ts";
import { type Server, withServer } from "./harness/server.ts";
import { needTool } from "./harness/tools.ts";
import { pause, until, within } from "./harness/wait.ts";

const LIMIT = 256; // what some systems give a process
const SILENT = 300; // more connections than that

/** Clients that are in without a login: as many as the connections to MySQL that a test allows. */
const STRANGERS = 40;

/** Silent clients stay for as long as a test takes. */
const PATIENT = ["--login-within", "1h", "--ping-after", "1h"];

/** What {@link fitToOpenFiles} makes of a configuration where so many files are free, and what it logs. */
function fit(config: Partial<Config>, room: FileRoom | undefined): { most: number | undefined; log: string } {
  let log = "";
  const fitted = fitToOpenFiles(
    { ...defaults(), ...config },
    new Log("info", "text", (line) => log += line),
    () => room,
  );
  return { most: fitted?.maxConnections, log };
}

Deno.test("open files: --max-connections is capped to what the reserve leaves, with both numbers", () => {
  for (const workers of [1, 4]) {
    const reserved = reservedFiles({ ...defaults(), workers });
    const at = (free: number) => fit({ workers, maxConnections: 1_000 }, { free, limit: free + 20 });
    assertEquals(at(reserved + 1_000), { most: 1_000, log: "" });
    const capped = at(reserved + 999);
    assertEquals(capped.most, 1_000 - workers, "all workers have as many");
    assertMatch(
      capped.log,
      new RegExp(
        `warn .*maxConnections=1000 possible=${1_000 - workers} limit=${reserved + 1_019} needed=${
          reserved + 1_020
        }\n$`,
      ),
    );
    assertEquals(at(reserved + workers).most, workers);
    const none = at(reserved + workers - 1);
    assertEquals(none.most, undefined);
    assertMatch(
      none.log,
      /error Cannot start: the limit of open files is (\d+), .* needs (\d+) .*ulimit -n.* to (\d+) for/,
    );
    const [limit, least, needed] = none.log.match(/(?<=is |needs |to )\d+/g)!.map(Number);
    assertEquals([limit, least, needed], [
      reserved + workers + 19,
      reserved + workers + 20,
      reserved + 1_020,
    ]);
  }
});

Deno.test("open files: where the limit is unknown, nothing is capped", () => {
  const { most, log } = fit({}, undefined);
  assertEquals(most, defaults().maxConnections);
  assertStringIncludes(log, "info  the limit of open files is unknown");
});

Deno.test("open files: measuring stops at what is wanted, and leaves nothing open", () => {
  const before = openFilesOf(Deno.pid).length;
  assertEquals(measureFileRoom(100), { free: 100, limit: undefined });
  assertEquals(openFilesOf(Deno.pid).length, before);
});

/** What a process has open, a word for each file. Through ls(1): the runtime lets few programs read /proc. */
function openFilesOf(pid: number): string[] {
  const script = `cd /proc/${pid}/fd && for file in *; do readlink $file || true; done`;
  const { stdout } = new Deno.Command("sh", { args: ["-c", script], stderr: "null" }).outputSync();
  return new TextDecoder().decode(stdout).trim().split("\n");
}

/** Threads with an event loop of their own, twice as many as there are. */
function eventLoopsOf({ pid }: Server): number {
  return openFilesOf(pid).filter((file) => file.includes("eventpoll")).length;
}

/** Files that a server has open for itself, without the runtime's caches, some of which it may not need. */
function ownFilesOf({ pid }: Server): string[] {
  return openFilesOf(pid).filter((file) => !/_cache_v\d/.test(file));
}

Deno.test("open files: the reserve is what workers, threads and the database have open", async () => {
  const reserved: number[] = [];
  const open: number[] = [];
  for (const workers of [2, 4]) {
    await withServer({ args: ["--workers", `${workers}`, ...PATIENT] }, async (server) => {
      const database = () => ownFilesOf(server).filter((file) => file.includes("/chat.db"));
      await until(async () => { // the thread that copies the log opens it a second after the start
        await register(server);
        return database().length >= 10;
      }, "the database's files");
      const config = { ...defaults(), workers };
      const threads = 2 * 6; // of the store
      const store = reservedFiles(config) -
        reservedFiles({ ...config, mysql: "mysql://", mysqlConnections: 0 });
      assertEquals(store, database().length + threads);
      // Each keeps one for a connection that it accepts to close it.
      reserved.push(reservedFiles(config) - workers);
      open.push(
        await until(async () => {
          const before = ownFilesOf(server).length;
          await pause(200);
          return ownFilesOf(server).length === before ? before : undefined;
        }, "no connection to be closing"),
      );
    });
  }
  assertEquals(open[1]! - open[0]!, reserved[1]! - reserved[0]!);
});

/** The connections that the server says are possible. */
function possibleOf(server: Server): number {
  const possible = /"maxConnections":16000,"possible":(\d+),"limit":256,/.exec(server.log())?.[1];
  assert(possible !== undefined, `no warning that names the numbers: ${server.log()}`);
  return Number(possible);
}

/** Connections that say nothing. */
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

/** The reserve for what is open for a moment is untouched, and nothing has failed. */
function assertRoom(server: Server, limit = LIMIT): void {
  const used = openFilesOf(server.pid).length;
  assert(used <= limit - MOMENTARY_FILES, `${used} files are open:\n${openFilesOf(server.pid).join("\n")}`);
  assert(server.running);
  for (const wrong of ["accept failed", "panicked", "Too many open files"]) {
    assert(!server.log().includes(wrong), server.log());
  }
}

/**
 * Fills the server with silent connections, and sees to it that those who are in can do everything, that one
 * more is closed, and that there is room again when the silent ones are gone.
 */
async function fill(
  server: Server,
  workers = 1,
  beside: (strangers: readonly FramedClient[]) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const possible = possibleOf(server);
  await using open = new AsyncDisposableStack();
  const friend = await register(server, "friend");
  const alice = open.use(await newUser(server, "alice"));
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: friend });
  const bob = open.use(await newUser(server, "bob"));
  const strangers: FramedClient[] = [];
  for (let i = 0; i < STRANGERS; i++) strangers.push(open.use(await FramedClient.connect(server)));
  for (const stranger of strangers) await stranger.settle(); // it is in
  const known = strangers.length + 2;
  {
    await using silent = new SilentOnes();
    await silent.connect(server.port, SILENT * workers);
    const refused = SILENT * workers + known - possible;
    await until(() => silent.closed >= refused, "those over the most to be closed");
    if (workers === 1) assertEquals(silent.closed, refused, "not one more");
    await beside(strangers);
    // As many at the same time as there are connections to a database, and more.
    const ids = await Promise.all(strangers.map((stranger, i) => stranger.register(`stranger ${i}`)));
    const [first, ...others] = strangers;
    await first!.login({ id: friend });
    assertEquals((await alice.next(Msg.PRESENCE)).state, "online");
    await Promise.all(others.map((stranger, i) => stranger.login({ id: ids[i]! })));
    await alice.chat(friend, "to a friend");
    assertEquals((await first!.next(Msg.ONE_CHAT)).msg, "to a friend");
    await others[0]!.chat(bob.id, "to a stranger");
    assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "to a stranger");
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
  withServer({ openFiles: LIMIT, args: PATIENT }, (server) => fill(server)));

Deno.test("open files: the same while the thread that hashes passwords dies and another begins", () => {
  const permissions = ["-A", "--preload", "tests/harness/mortal_threads.ts"];
  return withServer(
    { openFiles: LIMIT, permissions, env: { MORTAL: "hash" }, args: PATIENT },
    (server) =>
      fill(server, 1, async ([stranger]) => {
        const from = server.logSize;
        Deno.kill(server.pid, "SIGUSR1");
        await until(() => server.log(from).includes('(in worker "hash")'), "the thread's end");
        await until(async () => {
          const name = crypto.randomUUID();
          return (await stranger!.request({ msgid: Msg.REGISTER, name, password: PASSWORD })).errno === 0;
        }, "another thread");
      }),
  );
});

Deno.test("open files: the same with workers", () =>
  withServer({ openFiles: LIMIT, args: ["--workers", "2", ...PATIENT] }, (server) => fill(server, 2)));

Deno.test("open files: the same with a health port that is full as well", async () => {
  const port = freePort();
  const args = ["--health-port", `${port}`, ...PATIENT];
  await withServer({ openFiles: LIMIT, args }, async (server) => {
    await using mute = new SilentOnes();
    await fill(server, 1, async () => {
      await mute.connect(port, 100);
      const response = await fetch(`http://127.0.0.1:${port}/ready`);
      assertEquals(await response.json(), { ready: true });
    });
  });
});

Deno.test("open files: the same with MySQL, and Redis, which is lost and comes back meanwhile", async () => {
  await using mariadb = await startMariadb();
  await using database = await mariadb.fresh();
  await using redis = await startRedis();
  const args = [
    "--mysql",
    database.url,
    "--redis",
    redis.url,
    "--mysql-connections",
    `${STRANGERS}`,
    ...PATIENT,
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

Deno.test("open files: no thread begins after the server listens", () =>
  withServer({ args: PATIENT }, async (server) => {
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

Deno.test("open files: the permissions of deno.json are enough to find out the limit", async () => {
  const folder = await writableFolder();
  try {
    const permissions = ["--no-prompt", "-P=server"];
    await withServer({ permissions, db: `${folder}/chat.db`, openFiles: LIMIT }, async (server) => {
      assert(possibleOf(server) < LIMIT);
      await using user = await newUser(server);
      await user.settle();
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("open files: a limit without room for a connection is an error that names what is needed", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const { code, stderr } = await new Deno.Command("sh", {
      args: [
        ...["-c", 'ulimit -n 50; exec "$@"', "sh", Deno.execPath(), "run", "-A", "main.ts"],
        ...["127.0.0.1", "0", "--db", `${folder}/chat.db`],
      ],
      cwd: ROOT,
      clearEnv: true,
      env: cleanEnv(),
      stdin: "null",
    }).output();
    const [line, ...others] = new TextDecoder().decode(stderr).trim().split("\n");
    assertEquals([code, others], [1, []]);
    assertMatch(line!, /the limit of open files is 50, .* needs \d+ .*ulimit -n/);
    const [least, needed] = [/needs (\d+)/, /to (\d+) for --max-connections 16000/].map((pattern) =>
      Number(pattern.exec(line!)?.[1])
    ) as [number, number];
    assertEquals(needed - least, 16_000 - 1);
    const slack = 4; // files of the runtime's caches, which it goes without where the limit is lower
    await withServer({ openFiles: least + slack, args: PATIENT }, async (server) => {
      const possible = Number(/"possible":(\d+)/.exec(server.log())?.[1]);
      assert(possible >= 1 && possible <= 1 + slack, server.log());
      const id = await until(
        () => register(server, crypto.randomUUID()).catch(() => undefined),
        "a first user",
      );
      await using user = await until(() => login(server, { id }).catch(() => undefined), "its login");
      await user.settle();
      assertRoom(server, least + slack);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("open files: failed accepts are logged once a minute, and connections wait", async () => {
  await needTool("prlimit", "util-linux");
  const port = freePort();
  await withServer({ args: ["--health-port", `${port}`] }, async (server) => {
    const allow = async (count: number) => {
      const args = [`--pid=${server.pid}`, `--nofile=${count}:`];
      assert((await new Deno.Command("prlimit", { args }).output()).success);
    };
    await using user = await newUser(server);
    await allow(3); // those that are open stay, but there is no number left for another
    await using waiting = await FramedClient.connect(server);
    let isIn = false;
    const greeting = waiting.settle().then(() => isIn = true);
    const health = fetch(`http://127.0.0.1:${port}/live`);
    health.catch(() => {}); // it is awaited below
    await until(() => server.log().match(/"accept failed/g)?.length === 2, "a line for each port");
    await pause(1_500); // more tries, and time for another line if there were one each second
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

Deno.test("open files: where only the data folder may be read, that is enough to find out the limit", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await Deno.mkdir(`${folder}/data`);
    const module = new URL("lib/open_files.ts", ROOT).href;
    await Deno.writeTextFile(
      `${folder}/measure.ts`,
      `import { measureFileRoom } from "${module}"; console.log(JSON.stringify(measureFileRoom(10)));`,
    );
    const config = new URL("deno.json", ROOT).pathname;
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", `--config=${config}`, "--allow-read=data", "measure.ts"],
      cwd: folder,
    }).output();
    assertEquals(new TextDecoder().decode(stdout).trim(), '{"free":10}', new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
