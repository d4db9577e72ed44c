/** The files in deploy/: Deno gets the signals, its permissions and files, and time to drain. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { defaults } from "../../lib/config/config.ts";
import { options, variableOf } from "../../lib/config/options.ts";
import { STOP_MARGIN_MS } from "../../lib/workers/run_workers.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { newUser } from "../harness/framed_client.ts";
import { fieldOf } from "../harness/process.ts";
import { cleanEnv, ROOT } from "../harness/program.ts";
import { needTool } from "../harness/tools.ts";
import { until, within } from "../harness/wait.ts";

const MS_PER_SECOND = 1_000; // ms
const DOCKER_STOP_MS = 10_000; // after which `docker stop` kills
const MAX_EXPOSURE = 2; // of 10, by `systemd-analyze security`; 1.7 when this was written

const unit = await Deno.readTextFile(new URL("deploy/chat.service", ROOT));
const dockerfile = await Deno.readTextFile(new URL("deploy/Dockerfile", ROOT));

/** Returns a setting that the unit has once. */
function setting(name: string): string {
  const values = [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value]) => value!);
  assertEquals(values.length, 1, name);
  return values[0]!;
}

/** Returns the words of each instruction with a name. */
function instructions(name: string): string[] {
  return [...dockerfile.matchAll(new RegExp(`^${name} (.*)$`, "gm"))].map(([, rest]) => rest!);
}

/** Returns the database that the unit's environment names. */
function databaseOf(unit: string): string {
  return /^Environment=.*\bCHAT_DB=(\S+)/m.exec(unit)![1]!;
}

/** A command that starts a server, with its folder and environment. */
interface Start {
  readonly command: readonly string[];
  readonly cwd: string | URL;
  readonly env: Record<string, string>;
  /** Whether it runs as process 1 in a PID namespace. */
  readonly isFirst?: boolean;
}

/** Starts a server as deployed, logs a user in, and asserts that SIGTERM makes it drain and exit with 0. */
async function assertDrains({ command, cwd, env, isFirst = false }: Start): Promise<void> {
  const alone = [
    "unshare",
    ...(Deno.uid() === 0 ? [] : ["--map-root-user"]),
    "--pid",
    "--fork",
    "--kill-child",
  ];
  const [program, ...args] = isFirst ? [...alone, ...command] : command;
  const log = await Deno.makeTempFile();
  try {
    const child = new Deno.Command("sh", {
      args: ["-c", `exec "$@" >"${log}" 2>&1`, "sh", program!, ...args],
      cwd,
      clearEnv: true,
      env: cleanEnv({ CHAT_ARGON2_MEMORY: "8", ...env }),
      stdin: "null",
    }).spawn();
    try {
      const listening = await until(() => {
        const line = Deno.readTextFileSync(log).split("\n").find((line) => line.includes('"listening"'));
        return line?.endsWith("}") ? JSON.parse(line) as { port: number } : undefined;
      }, "a server that listens").catch((error) => {
        throw new Error(Deno.readTextFileSync(log), { cause: error });
      });
      await using client = await newUser({ host: "127.0.0.1", port: listening.port });
      const pid = isFirst ? childOf(child.pid) : child.pid;
      assertEquals(fieldOf(pid, "NSpid").split(/\s+/).at(-1), isFirst ? "1" : `${child.pid}`);
      Deno.kill(pid, "SIGTERM");
      assertEquals((await client.next(Msg.NOTICE)).kind, "draining");
      assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
      await client.close();
      const { code } = await within(child.status, "the server's end");
      assertEquals(code, 0, Deno.readTextFileSync(log));
      assertStringIncludes(Deno.readTextFileSync(log), '"stopped"');
    } finally {
      try {
        child.kill("SIGKILL");
      } catch {
        // already ended
      }
      await child.status;
    }
  } finally {
    await Deno.remove(log);
  }
}

/** Returns the only child of a process. */
function childOf(pid: number): number {
  const { stdout } = new Deno.Command("cat", { args: [`/proc/${pid}/task/${pid}/children`] }).outputSync();
  return Number(new TextDecoder().decode(stdout).trim());
}

Deno.test("systemd unit: its command serves, drains at SIGTERM and exits with 0", async () => {
  const data = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const command = setting("ExecStart")
      .replace("/usr/local/bin/deno", Deno.execPath())
      .replaceAll("/opt/chat", ROOT.pathname.replace(/\/$/, ""))
      .replaceAll(setting("WorkingDirectory"), data)
      .split(" ");
    assertEquals(command[0], Deno.execPath(), "no shell and no npx");
    const env = { CHAT_DB: databaseOf(unit).replace(setting("WorkingDirectory"), data) };
    await assertDrains({ command, cwd: data, env: { ...env, CHAT_HOST: "127.0.0.1", CHAT_PORT: "0" } });
    assert((await Deno.stat(`${data}/chat.db`)).isFile, "the database is in the unit's own folder");
  } finally {
    await Deno.remove(data, { recursive: true });
  }
});

Deno.test("systemd unit: has the permissions of deno.json for other folders", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const { net, env, sys, read: _, write: __, ...others } = permissions.server;
  assertEquals([net, env.ignore, others], [true, true, {}]);
  const variables = env.allow.filter((name: string) => name !== "npm_command"); // a unit does not use npm
  const given = setting("ExecStart").split(" ").filter((arg) => /^--(?:allow|ignore|deny)-/.test(arg));
  assertEquals(given.filter((arg) => !/^--allow-(?:read|write)=/.test(arg)).toSorted(), [
    `--allow-env=${variables}`,
    "--allow-net",
    `--allow-sys=${sys}`,
    "--ignore-env",
  ]);
  const data = setting("WorkingDirectory");
  assertEquals(given.filter((arg) => /^--allow-(?:read|write)=/.test(arg)).toSorted(), [
    `--allow-read=/opt/chat/lib,/opt/chat/schema.sql,${data},/etc/chat`, // the code, the data, the secrets
    `--allow-write=${data}`,
  ]);
});

Deno.test("systemd unit: sends SIGTERM to Deno, with time to drain, enough files and no root", () => {
  const { drainTimeout, maxConnections } = defaults();
  assertEquals([setting("KillSignal"), setting("KillMode")], ["SIGTERM", "mixed"]);
  assert(Number(setting("TimeoutStopSec")) * MS_PER_SECOND > drainTimeout + STOP_MARGIN_MS);
  assert(Number(setting("LimitNOFILE")) > maxConnections);
  assertEquals(setting("User"), "chat");
  assertEquals([setting("Restart"), setting("RestartPreventExitStatus")], ["on-failure", "2"]);
});

Deno.test("systemd unit: is valid, with a low exposure", async () => {
  await needTool("systemd-analyze", "systemd");
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const file = `${folder}/chat.service`;
    await Deno.writeTextFile(file, unit.replace("/usr/local/bin/deno", Deno.execPath()));
    const analyze = async (...args: string[]) => {
      const { code, stdout, stderr } = await new Deno.Command("systemd-analyze", { args }).output();
      return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
    };
    assertEquals(await analyze("verify", file), { code: 0, text: "" });
    const { text } = await analyze("security", "--offline=yes", "--no-pager", file);
    const exposure = Number(/Overall exposure level.*: ([\d.]+)/.exec(text)?.[1]);
    assert(exposure < MAX_EXPOSURE, text);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("Dockerfile: copies all files, and process 1 is Deno, which drains at SIGTERM", async () => {
  await needTool("unshare", "util-linux");
  const image = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const copied: string[] = [];
    for (const line of instructions("COPY")) {
      const sources = line.split(" ");
      const to = sources.pop()!;
      for (const source of sources) {
        copied.push(source);
        const target = to.endsWith("/") ? `${image}/${to}${source}` : `${image}/${to}`;
        const cp = new Deno.Command("cp", { args: ["-r", source, target], cwd: ROOT });
        assert((await cp.output()).success, line);
      }
    }
    const ignored = await Deno.readTextFile(new URL("deploy/Dockerfile.dockerignore", ROOT));
    assertEquals(
      ignored.split("\n").filter((line) => line.startsWith("!")),
      copied.map((name) => `!${name}`),
    );
    await Deno.mkdir(`${image}/data`);
    const fetched = new Deno.Command(Deno.execPath(), {
      args: ["cache", "main.ts", "client.ts"],
      cwd: image,
    });
    assert(instructions("RUN").includes("deno cache main.ts client.ts"));
    const { success, stderr } = await fetched.output();
    assert(success, new TextDecoder().decode(stderr));

    const entry = instructions("ENTRYPOINT").concat(instructions("CMD"));
    assertEquals(entry.length, 2);
    const [[deno, ...args], rest] = entry.map((list) => JSON.parse(list) as string[]) as [string[], string[]];
    assertEquals([deno, rest], ["deno", ["6000"]]);
    const env = Object.fromEntries(instructions("ENV").map((line) => line.split("=") as [string, string]));
    const command = [Deno.execPath(), ...args, "127.0.0.1", "0"];
    await assertDrains({ command, cwd: image, env, isFirst: true });
    assert((await Deno.stat(`${image}/data/chat.db`)).isFile, "the database is in the volume");
  } finally {
    await Deno.remove(image, { recursive: true });
  }
});

Deno.test("deploy: every way to start returns the memory of password hashes at once", async () => {
  const setting = "MALLOC_MMAP_THRESHOLD_=1048576";
  assert(dockerfile.includes(`\nENV ${setting}\n`));
  assert(unit.includes(`\nEnvironment=${setting}\n`));
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  for (const task of ["start", "start:mysql"]) assert(tasks[task].startsWith(`${setting} deno run `), task);
});

Deno.test("Dockerfile: has valid options, drains before Docker kills it, and is not root", () => {
  const known = new Set(Object.keys(options).map(variableOf));
  const env = new Map(instructions("ENV").map((line) => line.split("=") as [string, string]));
  for (const name of env.keys()) {
    const isOther = name.startsWith("DENO_") || name === "MALLOC_MMAP_THRESHOLD_";
    assert(known.has(name) || isOther, name);
  }
  assert(options.drainTimeout.parse(env.get("CHAT_DRAIN_TIMEOUT")!) < DOCKER_STOP_MS);
  assertEquals([instructions("USER"), instructions("STOPSIGNAL")], [["deno"], ["SIGTERM"]]);
});
