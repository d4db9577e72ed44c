/** The limit of open files caps the connections, less the other files of a server. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import type { Config } from "../../lib/config/options.ts";
import { Log } from "../../lib/log.ts";
import { capConnections, type FileRoom, measureFileRoom, reservedFiles } from "../../lib/node/open_files.ts";
import { login, newUser, register } from "../harness/framed_client.ts";
import { cleanEnv, ROOT, writableFolder } from "../harness/program.ts";
import { type Server, withServer } from "../harness/server.ts";
import { pause, until } from "../harness/wait.ts";
import { assertRoom, LIMIT, LONG_TIMEOUTS, openFilesOf, possibleOf } from "./open_files_fixture.ts";

/** Returns the result and the log of {@link capConnections} for a number of free files. */
function fit(config: Partial<Config>, room: FileRoom | undefined): { most: number | undefined; log: string } {
  let log = "";
  const fitted = capConnections(
    { ...defaults(), ...config },
    new Log("info", "text", (line) => log += line),
    () => room,
  );
  return { most: fitted?.maxConnections, log };
}

Deno.test("open files: cap --max-connections to the limit less the reserve, and log both", () => {
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

Deno.test("open files: cap nothing when the limit is unknown", () => {
  const { most, log } = fit({}, undefined);
  assertEquals(most, defaults().maxConnections);
  assertStringIncludes(log, "info  the limit of open files is unknown");
});

Deno.test("open files: measuring stops at the wanted number and leaves nothing open", () => {
  // not those of another test
  const measured = () => openFilesOf(Deno.pid).filter((file) => file === "/").length;
  const before = measured();
  assertEquals(measureFileRoom(100), { free: 100, limit: undefined });
  assertEquals(measured(), before);
});

/** Returns the files that a server has open, without the caches of the runtime. */
function ownFilesOf({ pid }: Server): string[] {
  return openFilesOf(pid).filter((file) => !/_cache_v\d/.test(file));
}

Deno.test("open files: the reserve covers the files of workers, threads and the database", async () => {
  const reserved: number[] = [];
  const open: number[] = [];
  for (const workers of [2, 4]) {
    await withServer({ args: ["--workers", `${workers}`, ...LONG_TIMEOUTS] }, async (server) => {
      const database = () => ownFilesOf(server).filter((file) => file.includes("/chat.db"));
      await until(async () => { // the checkpoint thread opens the database a second after the start
        await register(server);
        return database().length >= 10;
      }, "the database's files");
      const config = { ...defaults(), workers };
      const threads = 2 * 6; // of the store
      const store = reservedFiles(config) -
        reservedFiles({ ...config, mysql: "mysql://", mysqlConnections: 0 });
      assertEquals(store, database().length + threads);
      // Each worker reserves one file for a connection that it accepts in order to close it.
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

Deno.test("open files: the permissions of deno.json suffice to find the limit", async () => {
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

Deno.test("open files: the start fails when the limit leaves no connection", async () => {
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
    const slack = 4; // files of the runtime's caches, which it does not open at a lower limit
    await withServer({ openFiles: least + slack, args: LONG_TIMEOUTS }, async (server) => {
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

Deno.test("open files: read permission for the data folder suffices to find the limit", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await Deno.mkdir(`${folder}/data`);
    const module = new URL("lib/node/open_files.ts", ROOT).href;
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
