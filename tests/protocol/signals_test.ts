/** The effect of signals on a server during its start, its operation and its drain. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Log } from "../../lib/log.ts";
import { type StopSignal, StopSignals } from "../../lib/node/stop_signals.ts";
import { ClientProcess } from "../harness/client_process.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { newUser } from "../harness/framed_client.ts";
import { cleanEnv, ROOT, runProgram, writableFolder } from "../harness/program.ts";
import { serverTest, startServer } from "../harness/server.ts";
import { pause, until, within } from "../harness/wait.ts";

const CTRL_C = "\x03";
const PRESS_MS = 250; // between two presses, a little more than the server's threshold

Deno.test("signals: SIGHUP does not end a server without TLS, and the log says so", async () => {
  await using server = await startServer();
  const events = () => server.log().split("\n").filter((line) => line.includes('"SIGHUP"'));
  server.kill("SIGHUP");
  await until(() => events().length > 0, "the log's line");
  assertEquals([events().length, JSON.parse(events()[0]!).level], [1, "info"]);
  await using user = await newUser(server);
  assertEquals((await user.request({ msgid: Msg.PING })).msgid, Msg.PONG);
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 0);
});

for (const [signal, workers] of [["SIGTERM", 1], ["SIGINT", 1], ["SIGTERM", 2]] as const) {
  Deno.test(`signals: ${signal} during the start of ${workers} nodes ends it with code 0`, async () => {
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 }); // a MySQL server that sends nothing
    const args = ["127.0.0.1", "0", "--mysql", `mysql://ann@127.0.0.1:${silent.addr.port}/chat`];
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "main.ts", ...args, "--workers", `${workers}`],
      cwd: ROOT,
      clearEnv: true,
      env: cleanEnv(),
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const output = child.output();
    using _ = await within(silent.accept(), "a connection to the database");
    child.kill(signal);
    const { code, signal: killedBy, stderr } = await within(output, "the end of the start");
    const lines = new TextDecoder().decode(stderr).trim().split("\n");
    assertEquals([code, killedBy, lines.length], [0, null, 1], lines.join("\n"));
    const { event, signal: named } = JSON.parse(lines[0]!);
    assertEquals([event, named], ["stopped before the start was complete", signal]);
  });
}

serverTest("signals: a second SIGTERM, and a SIGINT without a terminal, change nothing during a drain", {
  args: ["--drain-timeout", "1h"],
}, async (server) => {
  await using client = await newUser(server);
  server.kill("SIGTERM");
  await client.next(Msg.NOTICE); // the drain has begun and lasts six minutes more
  const ignored = () => server.log().split('"still stopping').length - 1;
  for (const [at, signal] of (["SIGTERM", "SIGINT", "SIGINT", "SIGTERM"] as const).entries()) {
    server.kill(signal);
    await until(() => ignored() === at + 1, "the log to tell of the signal");
    assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
  }
  await client.close();
  assertEquals(await server.wait(), 0);
});

Deno.test("signals: ^C on a terminal drains, and announces the effect of another", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const args = [
      "127.0.0.1",
      "0",
      "--db",
      `${folder}/chat.db`,
      "--drain-timeout",
      "1h",
      "--argon2-memory",
      "8",
    ];
    await using server = new ClientProcess(args, { program: "main.ts", terminal: true });
    let port = 0;
    await server.until(
      ({ stdout }) => (port = Number(/listening .*port=(\d+)/.exec(stdout)?.[1])) > 0,
      "a port",
    );
    await using client = await newUser({ host: "127.0.0.1", port });
    await server.write(CTRL_C);
    await client.next(Msg.NOTICE);
    await server.until(({ stdout }) => stdout.includes("press ^C again to stop immediately"), "a hint");
    assertEquals((await client.request({ msgid: Msg.PING })).msgid, Msg.PONG);
    await pause(PRESS_MS); // sooner the server would take it for the same press
    await server.write(CTRL_C);
    assertEquals(await server.end(), 1);
    assertStringIncludes(server.stdout, "stopped immediately");
    await client.serverCloses();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Stop signals with a clock that the test sets; `codes` are the exit codes. */
function process(graceMs: number, isTerminal: boolean) {
  const lines: string[] = [];
  const codes: number[] = [];
  let ms = 1_000;
  let asked = 0;
  const log = new Log("info", "json", (line) => lines.push(line));
  const signals = new StopSignals(log, {
    graceMs,
    isTerminal,
    exit: (code) => codes.push(code),
    now: () => ms,
  });
  void signals.stopRequested.then(() => asked++);
  const take = (signal: StopSignal, afterMs = 0) => {
    ms += afterMs;
    signals.handle(signal);
  };
  return { signals, take, codes, lines, asked: () => asked };
}

Deno.test("stop signals: SIGTERM is ignored during the grace period, and not after it", async () => {
  const { signals, take, codes, lines, asked } = process(25_000, true);
  signals.markStarted();
  take("SIGTERM");
  await signals.stopRequested;
  take("SIGTERM", 24_999);
  assertEquals([codes, asked(), lines.length], [[], 1, 2]);
  take("SIGTERM", 1);
  assertEquals(codes, [1]);
});

Deno.test("stop signals: two SIGINTs end the server at once when they are two presses of ^C", () => {
  for (const isTerminal of [true, false]) {
    const { signals, take, codes, lines } = process(25_000, isTerminal);
    signals.markStarted();
    take("SIGINT");
    assertEquals(lines[0]!.includes("press ^C again"), isTerminal);
    take("SIGINT", 199); // `deno task` forwards the signal of the terminal
    assertEquals(codes, []);
    take("SIGINT", 1);
    assertEquals(codes, isTerminal ? [1] : []);
  }
});

Deno.test("stop signals: SIGINT after SIGTERM counts as the first press, and announces the second", () => {
  const { signals, take, codes, lines } = process(25_000, true);
  signals.markStarted();
  take("SIGTERM");
  assertEquals(lines[0]!.includes("press ^C again"), false);
  take("SIGINT", 1_000);
  assertEquals([codes, lines[1]!.includes("press ^C again")], [[], true]);
  take("SIGINT", 1_000);
  assertEquals(codes, [1]);
});

Deno.test("npx: the server warns that signals do not reach it, unless it is on a terminal", async () => {
  await using server = await startServer(); // occupies the port, so that the other server ends by itself
  const args = [server.host, `${server.port}`, "--db", `${server.folder}/other.db`];
  const npx = await new Deno.Command("npx", {
    args: ["--yes", "deno@2.9.6", "run", "-A", "main.ts", ...args],
    cwd: ROOT,
    clearEnv: true,
    env: cleanEnv(),
    stdin: "null",
  }).output();
  const said = new TextDecoder().decode(npx.stderr);
  assertEquals(npx.code, 1, said);
  assertStringIncludes(said, "started by npm or npx");
  assertStringIncludes(said, "exec deno run");

  const env = { npm_command: "exec" };
  await using onTerminal = new ClientProcess(args, { program: "main.ts", terminal: true, env });
  assertEquals(await onTerminal.end(), 1);
  assertStringIncludes(onTerminal.stdout, "Cannot listen");
  assertEquals(onTerminal.stdout.includes("npx"), false, onTerminal.stdout);
  assertEquals((await runProgram("main.ts", args)).stderr.includes("npx"), false);

  const folder = await writableFolder();
  try {
    const permissions = ["--no-prompt", "-P=server"];
    await using restricted = await startServer({ permissions, env, db: `${folder}/chat.db` });
    assertStringIncludes(restricted.log(), "started by npm or npx");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
