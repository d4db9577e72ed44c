/** The client's saved login: its use, its removal and its protection. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ClientProcess } from "../harness/client_process.ts";
import { logIn, PASSWORD, Person, register } from "../harness/person.ts";
import { type Outcome, runClient } from "../harness/program.ts";
import { type Server, serverTest } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const [FILE_MODE, FOLDER_MODE] = [0o600, 0o700];

/** A user's folder for the state of programs. */
class State implements Disposable {
  readonly path = Deno.makeTempDirSync({ prefix: "state-" });
  readonly env = { XDG_STATE_HOME: this.path };

  /** Returns the folder of the logins at this server. */
  folder({ host, port }: Server): string {
    return `${this.path}/chat-client/tcp-${host}-${port}`;
  }

  /** Returns the names of the files with logins at this server. */
  files(server: Server): string[] {
    return this.all(server).filter((name) => !name.endsWith(".lock"));
  }

  /** Returns the names of all files for this server. */
  all(server: Server): string[] {
    try {
      return [...Deno.readDirSync(this.folder(server))].map(({ name }) => name).toSorted();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  token(server: Server, id = 1): string {
    return JSON.parse(Deno.readTextFileSync(`${this.folder(server)}/${id}.json`)).token;
  }

  /** Runs a script of the user, with `password` in CHAT_PASSWORD if it is given. */
  run(server: Server, args: string, { password = "", stdin = "friends\n" } = {}): Promise<Outcome> {
    const env = { ...this.env, ...(password && { CHAT_PASSWORD: password }) };
    return runClient([server.host, `${server.port}`, ...args.split(" ")], { stdin, env });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Asserts that a script logged in. */
function assertIn({ code, stdout, stderr }: Outcome): void {
  assertEquals([code, stdout, stderr], [0, "Friends: none yet\n", ""]);
}

/** Asserts that a script had no saved login, and so needed a password. */
function assertNothingSaved({ code, stderr }: Outcome): void {
  assertEquals(code, 2, stderr);
  assertStringIncludes(stderr, "must give the password");
}

const modeOf = (path: string) => Deno.lstatSync(path).mode! & 0o777;

function isLocked(path: string): boolean {
  using file = Deno.openSync(path, { write: true });
  return !file.tryLockSync(true);
}

serverTest("saved login: replaces the password until loginout", {}, async (server) => {
  using state = new State();
  const options = { env: state.env };
  {
    await using alice = new Person(server, [], options);
    await register(alice, "alice");
    await logIn(alice, "alice");
    await alice.atPrompt("alice> ");
    await alice.types("quit\r");
    assertEquals(await alice.client.end(), 0);
  }
  assertEquals(state.files(server), ["1.json"]);
  assertEquals(modeOf(`${state.folder(server)}/1.json`), FILE_MODE);
  for (const folder of [state.folder(server), `${state.path}/chat-client`]) {
    assertEquals(modeOf(folder), FOLDER_MODE);
  }
  const files = Deno.readTextFileSync(`${state.folder(server)}/1.json`);
  assertEquals(files.includes(PASSWORD), false);
  {
    await using alice = new Person(server, [], options); // the only saved login needs no --user
    await alice.sees(/^\* logging in as alice \(1\)/);
    await alice.atPrompt("alice> ");
    await alice.types("loginout\r");
    await alice.atPrompt("choice: ");
    assertEquals(state.files(server), []);
    await logIn(alice, "alice"); // without a restart, by password
    await alice.atPrompt("alice> ");
    assertEquals(state.files(server), ["1.json"]);
    await alice.types("loginout\r");
    await alice.atPrompt("choice: ");
    assertEquals(state.all(server), []); // no lock file, either
    await alice.types("3\r");
    assertEquals(await alice.client.end(), 0);
  }
  await using alice = new Person(server, [], options);
  await alice.atPrompt("choice: ");
});

serverTest("saved login: is used for the named user or if it is the only one", {}, async (server) => {
  using state = new State();
  assertIn(await state.run(server, "--user alice --register", { password: PASSWORD }));
  assertIn(await state.run(server, "--wait 10"));
  assertIn(await state.run(server, "--user alice"));
  assertIn(await state.run(server, "--id 1"));
  assertIn(await state.run(server, "--user bob --register", { password: PASSWORD }));
  assertEquals(state.files(server), ["1.json", "2.json"]);
  const either = await state.run(server, "--wait 10");
  assertEquals(either.code, 2);
  assertStringIncludes(either.stderr, "must name the user");
  assertIn(await state.run(server, "--user bob"));
  assertNothingSaved(await state.run(server, "--user carol"));
  await using alice = new Person(server, [], { env: state.env });
  await alice.atPrompt("choice: ");
  await alice.types("1\r");
  await alice.atPrompt("user id or name: ");
  await alice.types("alice\r");
  await alice.atPrompt("alice> ");
});

serverTest("saved login: is neither saved nor used with --no-save", {}, async (server) => {
  using state = new State();
  const password = PASSWORD;
  assertIn(await state.run(server, "--user alice --register --no-save", { password }));
  assertEquals([...Deno.readDirSync(state.path)], []);
  assertIn(await state.run(server, "--user alice", { password }));
  assertNothingSaved(await state.run(server, "--user alice --no-save"));
  assertIn(await state.run(server, "--user alice"));
});

serverTest("saved login: is used only for the same server and use of TLS", {}, async (server) => {
  using state = new State();
  assertIn(await state.run(server, "--user alice --register", { password: PASSWORD }));
  assertNothingSaved(await state.run(server, "--user alice --tls"));
  const [host, port] = [server.host, `${server.port}`];
  const { env } = state;
  assertNothingSaved(await runClient(["127.0.0.2", port, "--user", "alice"], { env }));
  assertNothingSaved(await runClient([host, `${server.port + 1}`, "--user", "alice"], { env }));
  const both = [`${host}:${port}`, `127.0.0.2:${port}`, "--user", "alice"]; // nodes of one service
  assertIn(await runClient(both, { env, stdin: "friends\n" }));
});

serverTest(
  "saved login: is removed when the server rejects its token, and the client asks for the password",
  {},
  async (server) => {
    using state = new State();
    using elsewhere = new State();
    const password = PASSWORD;
    assertIn(await state.run(server, "--user alice --register", { password }));
    assertIn(await elsewhere.run(server, "--user alice", { password })); // invalidates the first token
    const refused = await state.run(server, "--user alice");
    assertEquals(refused.code, 1);
    assertMatch(refused.stderr, /^Cannot log in: the token is not/);
    assertEquals(state.files(server), []);

    assertIn(await elsewhere.run(server, "--user alice")); // with its valid token
    assertIn(await state.run(server, "--user alice", { password })); // invalidates that token
    const before = elsewhere.token(server);
    await using alice = new Person(server, [], { env: elsewhere.env });
    await alice.atPrompt("password: ");
    assertEquals(elsewhere.files(server), []);
    await alice.types(`${PASSWORD}\r`);
    await alice.atPrompt("alice> ");
    assert(elsewhere.token(server) !== before);
  },
);

serverTest("saved login: works while failed logins block passwords", {
  args: ["--max-failed-logins", "1", "--attempts-window", "12h"],
}, async (server) => {
  using state = new State();
  using attacker = new State();
  assertIn(await state.run(server, "--user alice --register", { password: PASSWORD }));
  assertEquals((await attacker.run(server, "--user alice", { password: "guess" })).code, 1);
  const locked = await attacker.run(server, "--user alice --login-wait 0", { password: PASSWORD });
  assertMatch(locked.stderr, /^Cannot log in: too many wrong passwords/);
  assertIn(await state.run(server, "--user alice", { password: PASSWORD }));
  await using alice = new Person(server, [], { env: state.env });
  await alice.atPrompt("alice> ");
});

serverTest(
  "saved login: is not used if others can read its file or the file is invalid",
  {},
  async (server) => {
    using state = new State();
    const password = PASSWORD;
    assertIn(await state.run(server, "--user alice --register", { password }));
    const file = `${state.folder(server)}/1.json`;
    const spoilt: readonly (readonly [string, () => void])[] = [
      ["is open to other users (mode 0640)", () => Deno.chmodSync(file, 0o640)],
      ["is open to other users (mode 0604)", () => Deno.chmodSync(file, 0o604)],
      ["is not a file", () => {
        Deno.renameSync(file, `${file}.real`);
        Deno.symlinkSync(`${file}.real`, file);
      }],
      ["1.json is damaged", () => Deno.writeTextFileSync(file, `{"id":1,`)],
      ["1.json is damaged", () => Deno.writeTextFileSync(file, `{"id":1,"name":"a","token":"","saved":1}`)],
      ["has over 4096 bytes", () => Deno.writeTextFileSync(file, " ".repeat(4_097))],
    ];
    for (const [words, spoil] of spoilt) {
      spoil();
      const { code, stderr } = await state.run(server, "--user alice");
      assertEquals([code, stderr.split("\n").length], [2, 3], stderr);
      assertMatch(stderr, /^warning: cannot use a saved token: /);
      assertStringIncludes(stderr, words);
      const again = await state.run(server, "--user alice", { password }); // the new file is valid
      assertEquals([again.code, again.stderr.split("\n").length], [0, 2], again.stderr);
      assertEquals(modeOf(file), FILE_MODE);
      assertIn(await state.run(server, "--user alice"));
    }
    Deno.chmodSync(state.folder(server), 0o770);
    const open = await state.run(server, "--user alice", { password });
    assertEquals(open.code, 0, open.stderr);
    assertMatch(open.stderr, /^warning: cannot use saved tokens: .* is open to other users \(mode 0770\)\n$/);
  },
);

serverTest("saved login: a second client of the user asks before a takeover", {}, async (server) => {
  using state = new State();
  const options = { env: state.env };
  assertIn(await state.run(server, "--user alice --register", { password: PASSWORD }));
  await using alice = new Person(server, [], options);
  await alice.atPrompt("alice> ");
  const refused = await state.run(server, "--user alice");
  assertEquals(refused.code, 1);
  assertStringIncludes(refused.stderr, "the account is in use by another client of yours");
  await using second = new Person(server, [], options);
  await second.atPrompt("This account is in use elsewhere. Take it over? (y/n) ");
  await second.types("n\r");
  await second.sees(/^login failed: the account is in use by another client of yours/);
  await alice.types("friends\r");
  await alice.sees(/^alice> friends$/); // still logged in
  await second.atPrompt("choice: ");
  await second.types("1\r");
  await second.atPrompt("user id or name: ");
  await second.types("alice\r");
  await second.atPrompt("This account is in use elsewhere. Take it over? (y/n) ");
  await second.types("y\r");
  await second.atPrompt("alice> ");
  await alice.sees(/^the server ended the session: /);
  // The second client now has the account. It takes the lock as soon as the first client has released it.
  await until(() => isLocked(`${state.folder(server)}/1.lock`), "the second client's lock");
  assertStringIncludes((await state.run(server, "--user alice")).stderr, "in use by another client of yours");
  assertIn(await state.run(server, "--user alice --force"));
  await second.sees(/^the server ended the session: /);
  for (const person of [alice, second]) await person.atPrompt("choice: ");
  assertIn(await state.run(server, "--user alice")); // both clients are at the menu, without a lock
});

serverTest("saved login: many concurrent clients leave valid files", {}, async (server) => {
  using state = new State();
  const names = ["ann", "bea", "cat", "dan"];
  const password = PASSWORD;
  for (const name of names) {
    assertIn(await state.run(server, `--user ${name} --register --no-save`, { password }));
  }
  const outcomes = await Promise.all(
    [1, 2].flatMap(() => names.map((name) => state.run(server, `--user ${name} --force`, { password }))),
  );
  assert(outcomes.every(({ stderr }) => !stderr.includes("warning")), JSON.stringify(outcomes));
  assertEquals(state.files(server), names.map((_, at) => `${at + 1}.json`));
  for (const at of names.keys()) assertMatch(state.token(server, at + 1), new RegExp(`^${at + 1}\\.`));
});

serverTest("saved login: loginout in a script removes it, too", {}, async (server) => {
  using state = new State();
  assertIn(await state.run(server, "--user alice --register", { password: PASSWORD }));
  assertEquals((await state.run(server, "--user alice", { stdin: "loginout\n" })).code, 0);
  assertEquals(state.all(server), []);
});

serverTest(
  "saved login: a client that cannot save it reports that in one line and works",
  {},
  async (server) => {
    const args = [server.host, `${server.port}`, "--user", "alice", "--register"];
    const homeless = { CHAT_PASSWORD: PASSWORD, HOME: "", XDG_STATE_HOME: "" };
    const without = await runClient(args, { env: homeless });
    assertEquals(without.code, 0, without.stderr);
    assertMatch(without.stderr, /^the session's token will not be saved: neither [^\n]*\n$/);
    const full = await runClient(args, { env: { ...homeless, XDG_STATE_HOME: "/dev/full" } });
    assertEquals(full.code, 0, full.stderr);
    assertMatch(full.stderr, /^warning: [^\n]*\n$/);
    assertEquals((await runClient([...args, "--no-save"], { env: homeless })).stderr, "");
  },
);

serverTest("json: omits the session's token unless --show-token is given", {}, async (server) => {
  using state = new State();
  const hidden = await state.run(server, "--user alice --register --json", { password: PASSWORD });
  assertEquals(hidden.code, 0, hidden.stderr);
  assertMatch(hidden.stdout, /"msgid":2,[^\n]*"name":"alice"/);
  const secret = state.token(server);
  for (const text of [secret, "token"]) assertEquals((hidden.stdout + hidden.stderr).includes(text), false);
  const again = await state.run(server, "--user alice --json");
  assertEquals([again.code, again.stdout.includes("token")], [0, false]);
  const shown = await state.run(server, "--user alice --json --show-token");
  assertStringIncludes(shown.stdout, `"token":"${state.token(server)}"`);
  const wrong = await state.run(server, "--user alice --show-token");
  assertEquals([wrong.code, wrong.stderr.includes("--show-token needs --json")], [2, true]);
  await using terminal = new ClientProcess([server.host, `${server.port}`], {
    env: state.env,
    terminal: true,
  });
  await terminal.until(({ stdout }) => stdout.includes("alice> "), "the login");
  assertEquals(terminal.stdout.includes(state.token(server)), false);
});
