/** The start of a server; a failed start ends with one line that names the reason. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ClientProcess } from "../harness/client_process.ts";
import { Msg } from "../harness/protocol_numbers.ts";
import { FramedClient } from "../harness/framed_client.ts";
import { type Outcome, runProgram, writableFolder } from "../harness/program.ts";
import { withServer } from "../harness/server.ts";

/** Runs `body` with a temporary folder. */
async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Asserts the exit code and that the error is one line, and returns that line. */
function assertOneLine(outcome: Outcome, code: number): string {
  const line = outcome.stderr.trim();
  assertEquals([outcome.code, line.split("\n").length], [code, 1], `${outcome.stderr}${outcome.stdout}`);
  assert(line.length > 0);
  return line;
}

Deno.test("start: exits with code 1 when the port is in use", () =>
  inFolder((folder) =>
    withServer({}, async (server) => {
      const outcome = await runProgram("main.ts", [
        server.host,
        `${server.port}`,
        "--db",
        `${folder}/other.db`,
      ]);
      assertStringIncludes(assertOneLine(outcome, 1), `${server.port}`);
    })
  ));

Deno.test("start: exits with code 2 and names the option when it is invalid", () =>
  inFolder(async (folder) => {
    const db = ["--db", `${folder}/chat.db`];
    const wrong: readonly (readonly [string, readonly string[]])[] = [
      ["no-such-option", ["127.0.0.1", "0", "--no-such-option"]],
      ["argon2-memory", ["127.0.0.1", "0", "--argon2-memory", "7"]],
      ["argon2-memory", ["127.0.0.1", "0", "--argon2-memory", "many"]],
      ["ping-interval", ["127.0.0.1", "0", "--ping-interval", "5 parsecs"]],
      ["max-frame", ["127.0.0.1", "0", "--max-frame", "-1"]],
      ["log-level", ["127.0.0.1", "0", "--log-level", "shout"]],
      ["65536", ["127.0.0.1", "65536"]],
      ["port", ["127.0.0.1", "port"]],
      ["three", ["127.0.0.1", "0", "three"]],
    ];
    for (const [named, args] of wrong) {
      const line = assertOneLine(await runProgram("main.ts", [...args, ...db]), 2);
      assertStringIncludes(line, named);
    }
  }));

Deno.test("start: exits with code 2 and names the environment variable when it is invalid", () =>
  inFolder(async (folder) => {
    const args = ["127.0.0.1", "0", "--db", `${folder}/chat.db`];
    const outcome = await runProgram("main.ts", args, { env: { CHAT_ARGON2_MEMORY: "many" } });
    assertStringIncludes(assertOneLine(outcome, 2), "CHAT_ARGON2_MEMORY");
  }));

Deno.test("start: succeeds with a warning in the environment of Kubernetes and Docker Compose", async () => {
  const env = {
    CHAT_HEALTH_PORT: "tcp://10.0.0.1:6001",
    CHAT_REDIS: "",
    CHAT_PORT: "tcp://10.0.0.1:6000", // the command line overrides it
    CHAT_SERVICE_HOST: "10.0.0.1",
    CHAT_WORKRES: "2",
  };
  for (const permissions of [["-A"], ["--no-prompt", "-P=server"]]) {
    const folder = await writableFolder();
    try {
      await withServer({ env, permissions, db: `${folder}/chat.db` }, (server) => {
        const lines = server.log().split("\n").filter((line) => line.includes('"warn"'));
        const warnings = lines.map((line) => JSON.parse(line));
        assertEquals(warnings.map(({ variable, variables }) => variable ?? variables), [
          "CHAT_HEALTH_PORT",
          "CHAT_REDIS",
          "CHAT_WORKRES",
        ]);
        return Promise.resolve();
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
});

Deno.test("start: succeeds when only some variables may be read, and asks for no others", () =>
  inFolder(async (folder) => {
    const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-env=CHAT_*", "--allow-sys"];
    const args = ["127.0.0.1", "0", "--db", `${folder}/chat.db`];
    for (const terminal of [true, false]) {
      const env = { CHAT_REDIS: "" };
      await using server = new ClientProcess(args, { program: "main.ts", permissions, terminal, env });
      await server.until(({ stdout, stderr }) => `${stdout}${stderr}`.includes("listening"), "it to listen");
      assertStringIncludes(`${server.stdout}${server.stderr}`, "CHAT_REDIS");
      if (terminal) await server.write("\x03");
      else server.signal("SIGTERM");
      assertEquals(await server.end(), 0);
    }
  }));

Deno.test("start: exits with code 1 and names the database when it cannot be opened", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/text.db`, "This is not a database but a text. ".repeat(1_000));
    await Deno.mkdir(`${folder}/folder.db`);
    for (const db of [`${folder}/folder.db`, `${folder}/no/such/folder/chat.db`, `${folder}/text.db`]) {
      const outcome = await runProgram("main.ts", ["127.0.0.1", "0", "--db", db]);
      assertStringIncludes(assertOneLine(outcome, 1), `Cannot open the database ${db}: `);
    }
    assertStringIncludes(
      await Deno.readTextFile(`${folder}/text.db`),
      "not a database",
      "it is left as it was",
    );
  }));

Deno.test("start: the permissions in deno.json suffice", async () => {
  const folder = await writableFolder();
  try {
    const permissions = ["--no-prompt", "-P=server"];
    await withServer({ permissions, db: `${folder}/chat.db` }, async (server) => {
      await using alice = await FramedClient.connect(server);
      await alice.login({ id: await alice.register("alice") });
      await using bob = await FramedClient.connect(server);
      await bob.login({ id: await bob.register("bob") });
      await alice.chat(bob.id, "hello");
      assertEquals((await bob.next(Msg.ONE_CHAT)).msg, "hello");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
