/** The client's permissions: exactly the necessary ones, without a question of the runtime. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ClientProcess } from "../harness/client_process.ts";
import { logIn, PASSWORD, Person, register } from "../harness/person.ts";
import { cleanEnv, ROOT, runClient } from "../harness/program.ts";
import { type Server, serverTest } from "../harness/server.ts";

interface Settings {
  readonly permissions: Readonly<Record<string, unknown>>;
  readonly tasks: Readonly<Record<string, string>>;
}
const settings = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT))) as Settings;

/** A substitute for client.ts that tries many operations and prints the possible ones. */
const PROBE = `
const [root, home, state] = Deno.args;
const possible = [];
const tried = async (what, work) => {
  try { await work(); possible.push(what); } catch (error) { if (!(error instanceof Deno.errors.NotCapable)) possible.push(what); }
};
const mine = state + "/chat-client";
await tried("state", () => {
  Deno.mkdirSync(mine + "/a", { recursive: true, mode: 0o700 });
  Deno.writeTextFileSync(mine + "/a/b", "x");
  Deno.renameSync(mine + "/a/b", mine + "/a/c");
  Deno.readTextFileSync(mine + "/a/c");
  Deno.removeSync(mine, { recursive: true });
});
for (const path of [root + "deno.json", root + ".git/config", home + "/secret", mine + "/../secret", "/etc/hosts"]) {
  await tried("read " + path, () => Deno.readTextFileSync(path));
}
for (const path of [root + "deno.json", root + ".git/config", home + "/.bashrc", mine + "/../x", mine + "-other"]) {
  await tried("write " + path, () => Deno.openSync(path, { write: true, create: path.startsWith(home) }).close());
}
await tried("run", () => new Deno.Command("true").outputSync());
await tried("link", () => Deno.symlinkSync(home, mine));
for (const name of ["hostname", "osRelease"]) await tried(name, () => Deno[name]());
for (const name of ["PATH", "SECRET", "HOME"]) if (Deno.env.get(name) !== undefined) possible.push("$" + name);
await tried("ffi", () => Deno.dlopen("/lib/none.so", {}));
Deno.uid();
console.log(JSON.stringify(possible));
`;

const DENO_DIR = JSON.parse(
  new TextDecoder().decode(
    new Deno.Command(Deno.execPath(), { args: ["info", "--json"], clearEnv: true, env: cleanEnv() })
      .outputSync().stdout,
  ),
).denoDir as string;

async function withHome(body: (home: string) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir({ prefix: "home-" });
  try {
    await body(home);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

for (const kind of ["HOME", "XDG_STATE_HOME", "the set alone"]) {
  Deno.test(`permissions: deno task client can use only its state folder: ${kind}`, async () => {
    await withHome(async (home) => {
      const state = kind === "XDG_STATE_HOME" ? `${home}/elsewhere` : `${home}/.local/state`;
      const project = `${home}/project`;
      await Deno.mkdir(project);
      await Deno.mkdir(state, { recursive: true });
      for (const folder of [home, state]) await Deno.writeTextFile(`${folder}/secret`, "");
      const task = settings.tasks.client!.replace("client.ts", "probe.js");
      assert(task.endsWith("probe.js"));
      const { client } = settings.permissions;
      await Deno.writeTextFile(
        `${project}/deno.json`,
        JSON.stringify({ permissions: { client }, tasks: { client: task } }),
      );
      await Deno.writeTextFile(`${project}/probe.js`, PROBE);
      const command = kind === "the set alone"
        ? ["run", "--no-prompt", "-P=client", "probe.js"]
        : ["task", "client"];
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [...command, ROOT.pathname, home, state],
        cwd: project,
        clearEnv: true,
        env: cleanEnv({
          ...{ HOME: home, DENO_DIR, SECRET: "x" },
          XDG_STATE_HOME: kind === "XDG_STATE_HOME" ? state : "",
        }),
        stdin: "null",
      }).output();
      const [out, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      assertEquals(JSON.parse(out!), kind === "the set alone" ? ["$HOME"] : ["state", "$HOME"], errors);
    });
  });
}

Deno.test("permissions: the compiled client can write only to its state folder", () => {
  const flag = /"--allow-write=([^"]*)"/;
  const paths = flag.exec(settings.tasks.client!)?.[1];
  assertEquals(paths, "$HOME/.local/state/chat-client,$XDG_STATE_HOME/chat-client");
  const compiled = settings.tasks["compile:client"]!;
  assertEquals(flag.exec(compiled)?.[1], paths);
  assertEquals(compiled.match(/--allow-\w+/g)?.toSorted(), [
    ...["--allow-env", "--allow-net", "--allow-read", "--allow-sys", "--allow-write"],
  ]);
});

serverTest(
  "permissions: deno task client saves a login in the home folder and uses it",
  {},
  async (server) => {
    await withHome(async (home) => {
      const options = {
        env: { HOME: home, DENO_DIR, XDG_STATE_HOME: "" },
        command: [Deno.execPath(), "task", "client"],
      };
      {
        await using alice = new Person(server, [], options);
        await register(alice, "alice");
        await logIn(alice, "alice");
        await alice.atPrompt("alice> ");
        await alice.types("\x1a"); // would stop the client, but not the program that waits for it
        await alice.sees(/^\* Ctrl-Z cannot stop the program under deno task /);
        await alice.types("quit\r");
        assertEquals(await alice.client.end(), 0);
        assertEquals(alice.client.stdout.includes("not be saved"), false);
      }
      const folder = `${home}/.local/state/chat-client/tcp-${server.host}-${server.port}`;
      assertEquals(Deno.lstatSync(`${folder}/1.json`).mode! & 0o777, 0o600);
      await using alice = new Person(server, [], options);
      await alice.atPrompt("alice> ");
    });
  },
);

const NOT_SAVED =
  /the session's token will not be saved: the client may not use [^\n]*"deno task client" may\n/;

serverTest(
  "permissions: the client reports a missing permission in one line without a question",
  {},
  async (server) => {
    await withHome(async (home) => {
      const env = { HOME: home, DENO_DIR, XDG_STATE_HOME: "" };
      await using alice = new Person(server, [], { env, permissions: ["-P=client"] });
      await register(alice, "alice");
      await logIn(alice, "alice");
      await alice.atPrompt("alice> ");
      assertEquals(alice.client.stdout.replaceAll("\r", "").split(NOT_SAVED).length, 2);
      await alice.types("\x1a"); // Ctrl-Z needs no permission there
      await alice.client.until(
        ({ stdout }) => /2004l[^]*2004h/.test(stdout),
        "the marks around pastes again",
      );
      await alice.types("quit\r");
      assertEquals(await alice.client.end(), 0);
      assertEquals(/permission|requests/i.test(alice.client.stdout.replace(/^.*Warning.*$/m, "")), false);

      const args = [server.host, `${server.port}`, "--user", "alice"];
      const permissions = ["-P=client"];
      const script = await runClient(args, { env: { ...env, CHAT_PASSWORD: PASSWORD }, permissions });
      assertEquals(script.code, 0, script.stderr);
      assertMatch(script.stderr, NOT_SAVED);
      assertEquals([...Deno.readDirSync(home)].filter(({ name }) => name.startsWith(".local")), []);
    });
  },
);

serverTest("permissions: the client reads a password file only with the permission", {}, async (server) => {
  await withHome(async (home) => {
    const [file, env] = [`${home}/password`, { HOME: home, DENO_DIR }];
    await Deno.writeTextFile(file, PASSWORD);
    const args = (
      at: Server,
    ) => [at.host, `${at.port}`, "--user", "alice", "--register", "--password-file", file];
    const denied = await runClient(args(server), { env, permissions: ["-P=client"] });
    assertEquals(denied.code, 2);
    assertStringIncludes(denied.stderr, `--password-file: no permission to read ${file}`);
    const allowed = await runClient(args(server), {
      env,
      permissions: ["-P=client", `--allow-read=${file}`],
    });
    assertEquals(allowed.code, 0, allowed.stderr);
    await using terminal = new ClientProcess(args(server).filter((arg) => arg !== "--register"), {
      ...{ env, permissions: ["-P=client"], terminal: true },
    });
    assertEquals(await terminal.end(), 2); // without a question, which would wait forever
  });
});
