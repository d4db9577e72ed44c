/** The client in scripts: commands from a pipe, exit codes, JSON. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ClientProcess } from "../harness/client_process.ts";
import { Msg, type Received } from "../harness/protocol_numbers.ts";
import { freePort } from "../harness/ports.ts";
import { type Outcome, runClient } from "../harness/program.ts";
import { type Server, serverTest, sharedServer } from "../harness/server.ts";

const PASSWORD = "open sesame";
const env = { CHAT_PASSWORD: PASSWORD };

function client(server: Server, args: string, stdin = ""): Promise<Outcome> {
  return runClient([server.host, `${server.port}`, ...args.split(" ")], { stdin, env });
}

/** Starts a client with --follow. */
function follower(server: Server, args: string): ClientProcess {
  return new ClientProcess([server.host, `${server.port}`, "--follow", ...args.split(" ")], { env });
}

/** Registers a user, and resolves to the id. */
async function newUser(server: Server, name: string): Promise<number> {
  const { stdout, code, stderr } = await client(server, `--user ${name} --register --json`);
  assertEquals(code, 0, stderr);
  return jsonLines(stdout).find(({ msgid }) => msgid === Msg.LOGIN_ACK)!.id!;
}

function jsonLines(stdout: string): Received[] {
  return stdout.split("\n").slice(0, -1).map((line) => JSON.parse(line) as Received);
}

function bodies(messages: readonly Received[]): string[] {
  return messages.filter(({ msgid }) => msgid === Msg.ONE_CHAT).map(({ msg }) => msg!);
}

const test = sharedServer();

test("script: delivers a message once, and it is not unread afterwards", async (server) => {
  const to = await newUser(server, "once-to");
  await newUser(server, "once-from");
  const sent = await client(server, "--user once-from", `chat:${to}:hello: with colons\n`);
  assertEquals([sent.code, sent.stderr], [0, ""]);
  assertStringIncludes(sent.stdout, `sent to ${to} as #1`);

  await using first = follower(server, `--id ${to}`);
  await first.until(({ lines }) => lines.length > 0, "the message");
  first.signal("SIGINT");
  assertEquals(await first.end(), 0);
  assertMatch(first.stdout, /^\[\d\d:\d\d\] once-from \(\d+\): hello: with colons\n$/);
  const again = await client(server, `--id ${to}`);
  assertEquals([again.code, again.stdout], [0, ""]);
});

test("script: receives unread messages in order", async (server) => {
  const to = await newUser(server, "missed-to");
  await newUser(server, "missed-from");
  const texts = Array.from({ length: 300 }, (_, at) => `message ${at}`);
  const sent = await client(
    server,
    "--user missed-from",
    texts.map((text) => `chat:${to}:${text}\n`).join(""),
  );
  assertEquals(sent.code, 0, sent.stderr);

  await using reader = follower(server, `--id ${to} --json`);
  await reader.endInput();
  await reader.until(({ stdout }) => stdout.includes("message 299"), "the last message");
  assertEquals(bodies(jsonLines(reader.stdout)), texts);
  reader.signal("SIGINT");
  assertEquals(await reader.end(), 0);
});

test("script: --json prints the messages of the server, with acks, and nothing else", async (server) => {
  const to = await newUser(server, "json-to");
  await newUser(server, "json-from");
  const commands = `chat:${to}:a\nfriends\nhistory:${to}\nhelp\n`;
  const { stdout, code } = await client(server, "--user json-from --json", commands);
  assertEquals(code, 0);
  const messages = jsonLines(stdout);
  const expected = [Msg.LOGIN_ACK, Msg.ACK, Msg.CONTACTS_ACK, Msg.HISTORY_ACK];
  assertEquals(messages.map(({ msgid }) => msgid), expected);
  assertEquals([messages[1]!.of, messages[1]!.seq], [Msg.ONE_CHAT, 1]);
  assertEquals(messages[3]!.messages!.map(({ msg }) => msg), ["a"]);
});

test("script: reports a rejected or invalid command, and ends with exit code 1", async (server) => {
  await newUser(server, "refused");
  const { stdout, stderr, code } = await client(
    server,
    "--user refused",
    `chat:999999:hi\ndance\nchat:1:\nfriends\n${"y".repeat(3_000)}\n`,
  );
  assertEquals(code, 1);
  assertStringIncludes(stderr, 'line 1, "chat:999999:hi": there is no user 999999\n');
  assertStringIncludes(stderr, 'line 2, "dance": no such command; "help" lists all\n');
  assertStringIncludes(stderr, 'line 3, "chat:1:": usage: chat:friendid:message\n');
  assertStringIncludes(stderr, `line 5, "${"y".repeat(39)}…": no such command`);
  assertEquals(stdout, "Friends: none yet\n");
});

test("script: reports an overlong line once, and runs the lines after it", async (server) => {
  await newUser(server, "verbose");
  const stdin = `friends\n${"x".repeat(8 * 1_048_576)}\ndance\nfriends\n`;
  const { stdout, stderr, code } = await client(server, "--user verbose", stdin);
  assertEquals([code, stdout], [1, "Friends: none yet\n".repeat(2)]);
  assertEquals(stderr.split("\n"), [
    "line 2: skipped, as it is longer than 65536 bytes",
    'line 3, "dance": no such command; "help" lists all',
    "",
  ]);
});

test("script: creates a group, joins it, sends to it and reads its history", async (server) => {
  await newUser(server, "member");
  const made = await client(server, "--user creator --register", "creategroup:club:all: welcome\n");
  const group = Number(/club \((\d+)\)/.exec(made.stdout)?.[1]);
  const joined = await client(server, "--user member", `addgroup:${group}\ngroupchat:${group}:hello, club\n`);
  assertEquals(joined.code, 0, joined.stderr);
  await using creator = follower(server, "--user creator");
  await creator.write(`groups\ngrouphistory:${group}\n`);
  await creator.until(
    ({ stdout }) => stdout.split("hello, club\n").length > 2,
    "the message and the history",
  );
  const { stdout } = creator;
  assertMatch(stdout, /^\[\d\d:\d\d\] member \(\d+\) in club \(\d+\): hello, club$/m);
  assertMatch(stdout, /^#1 \[\d\d:\d\d\] member \(\d+\) in club \(\d+\): hello, club$/m);
  assertMatch(
    stdout,
    /^ {2}club \(\d+\) all: welcome\n {4}creator \(\d+\) online creator\n {4}member \(\d+\) offline normal$/m,
  );
});

test("script: reports a wrong password, and ends with exit code 1", async (server) => {
  await newUser(server, "wrong");
  const args = [server.host, `${server.port}`, "--user", "wrong"];
  const { stderr, code } = await runClient(args, { env: { CHAT_PASSWORD: "guess" } });
  assertEquals(code, 1);
  assertEquals(stderr, "Cannot log in: unknown user or wrong password\n");
});

test("script: reads the password from a file", async (server) => {
  await newUser(server, "filed");
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, `${PASSWORD}\nanother line\n`);
    const args = [server.host, `${server.port}`, "--user", "filed", "--password-file", file];
    assertEquals((await runClient(args)).code, 0);
  } finally {
    await Deno.remove(file);
  }
});

test("script: takes an account over only with --force, and the former client reports it", async (server) => {
  const id = await newUser(server, "busy");
  await using holder = follower(server, `--id ${id} --json`);
  await holder.until(({ lines }) => lines.length > 0, "the login");
  const refused = await client(server, "--user busy");
  assertEquals(refused.code, 1);
  assertStringIncludes(refused.stderr, "the account is in use on another connection");
  const forced = await client(server, "--user busy --force --json");
  const errnos = forced.stdout.trim().split("\n").map((line) => JSON.parse(line).errno);
  assertEquals([forced.code, errnos], [0, [0]]); // without a rejection before
  assertEquals(await holder.end(), 1);
  assertStringIncludes(holder.stderr, "the server ended the session: ");
});

test("script: tries the next server when one is unreachable", async (server) => {
  await newUser(server, "roving");
  const args = [`127.0.0.1:${freePort()}`, `127.0.0.1:${server.port}`, "--user", "roving"];
  assertEquals((await runClient(args, { env })).code, 0);
});

test("script: ends at loginout, which invalidates the session's token", async (server) => {
  await newUser(server, "leaver");
  const { stdout, code } = await client(server, "--user leaver --json", "friends\nloginout\nfriends\n");
  assertEquals(code, 0);
  const messages = jsonLines(stdout);
  assertEquals(messages.map(({ msgid }) => msgid), [Msg.LOGIN_ACK, Msg.CONTACTS_ACK, Msg.ACK]);
  assertEquals(messages[2]!.of, Msg.LOGOUT);
});

serverTest(
  "script: resends unacknowledged messages after a server crash, in order and once",
  {},
  async (server) => {
    const to = await newUser(server, "crash-to");
    await newUser(server, "crash-from");
    const texts = Array.from({ length: 400 }, (_, at) => `message ${at}`);
    const commands = texts.map((text) => `chat:${to}:${text}\n`);
    await using sender = new ClientProcess([
      server.host,
      `${server.port}`,
      "--user",
      "crash-from",
      "--wait",
      "60",
    ], {
      env,
    });
    for (let round = 0; round < 4; round++) {
      const before = sender.lines.length;
      await sender.write(commands.slice(round * 100, round * 100 + 100).join(""));
      await sender.until(({ lines }) => lines.length > before + 10, "some acks");
      server.kill("SIGKILL");
      await server.wait();
      await server.restart();
    }
    await sender.endInput();
    assertEquals(await sender.end(), 0, sender.stderr);
    assertStringIncludes(sender.stderr, "reconnected");

    await using reader = follower(server, `--id ${to} --json`);
    await reader.until(({ stdout }) => stdout.includes("message 399"), "the last message");
    assertEquals(bodies(jsonLines(reader.stdout)), texts);
  },
);

serverTest("script: ends with exit code 1 after --wait without a reply", {}, async (server) => {
  const to = await newUser(server, "lost-to");
  await newUser(server, "lost-from");
  await using sender = new ClientProcess(
    [server.host, `${server.port}`, "--user", "lost-from", "--wait", "1"],
    { env },
  );
  await sender.write(`chat:${to}:one\n`);
  await sender.until(({ lines }) => lines.length === 1, "the first ack");
  server.kill("SIGKILL");
  await sender.until(({ stderr }) => stderr.includes("connection lost"), "the loss of the connection");
  await sender.write(`chat:${to}:two\n`);
  await sender.endInput();
  assertEquals(await sender.end(), 1);
  assertStringIncludes(sender.stderr, "the server did not reply to 1 command\n");
});

Deno.test("script: reports an invalid command line in one line, and ends with exit code 2", async () => {
  const wrong: [string[], string][] = [
    [[], "no server given"],
    [["localhost"], "localhost is not a server in the form HOST:PORT"],
    [["localhost", "70000"], "a port must be a whole number from 1 to 65535, not 70000"],
    [["localhost:1", "--frobnicate"], "unknown option --frobnicate"],
    [["localhost:1"], "--user NAME or --id N must name the user"],
    [["localhost:1", "--user", "a", "--id", "1"], "--user and --id exclude each other"],
    [["localhost:1", "--user", "a"], "CHAT_PASSWORD or --password-file must give the password"],
    [["localhost:1", "--user", "a"], "without a terminal as input, CHAT_PASSWORD"],
    [["localhost:1", "--user", "a", "--json"], "with --json, CHAT_PASSWORD or"],
    [["localhost:1", "--user", "a", "--user", "b"], "--user is given twice"],
    [["localhost:1", "--user", "a", "--password-file", "/dev/null"], "the first line of /dev/null is empty"],
    [["localhost:1", "--user", "a", "--wait", "soon"], "--wait must be a whole number"],
    [["localhost:1", "--user", "a", "--password-file", "/no/such/file"], "--password-file: "],
  ];
  for (const [args, words] of wrong) {
    const { code, stdout, stderr } = await runClient(args);
    assertEquals([code, stdout, stderr.split("\n").length], [2, "", 2], stderr);
    assertStringIncludes(stderr, words);
  }
  const { code, stderr } = await runClient(["localhost:1", "--user", "a"], { env: { CHAT_PASSWORD: "" } });
  assertEquals(code, 2);
  assertStringIncludes(stderr, "CHAT_PASSWORD or --password-file must give the password", "empty is not set");
});

Deno.test("script: prints --help and --version on standard output", async () => {
  const help = await runClient(["--help"]);
  assertEquals([help.code, help.stderr], [0, ""]);
  assertStringIncludes(help.stdout, "--password-file");
  assertMatch((await runClient(["--version"])).stdout, /^\d+\.\d+\.\d+\n$/);
});
