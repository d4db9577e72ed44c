/** The arguments of the data commands of main.ts, on the command line or in the environment. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Mariadb, startMariadb } from "../harness/mariadb.ts";
import { type Outcome, runProgram } from "../harness/program.ts";
import { startServer } from "../harness/server.ts";
import { Authority } from "../harness/tls.ts";
import { openMysql } from "../store/mysql_fixture.ts";

const PASSWORD = "p@ss:w/rd %é";
const DATABASE = "chat";

function command(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  return runProgram("main.ts", args, { env });
}

function urlOf({ host, port }: Mariadb, user: string): string {
  return `mysql://${user}@${host}:${port}/${DATABASE}`;
}

Deno.test("commands: backup and restore take the database from CHAT_DB unless a flag names it", async () => {
  await using server = await startServer();
  const [copy, other, fresh] = ["copy.db", "other.db", "fresh.db"].map((name) => `${server.folder}/${name}`);
  const env = { CHAT_DB: server.db };
  const made = await command(["backup", "--to", copy!], env);
  assertEquals([made.code, made.stdout], [0, `copied ${server.db} to ${copy}\n`]);
  const beaten = await command(["backup", "--db", server.db, "--to", other!], { CHAT_DB: "/nowhere" });
  assertEquals([beaten.code, beaten.stderr], [0, ""]);
  const restored = await command(["restore", "--from", copy!], { CHAT_DB: fresh! });
  assertEquals([restored.code, restored.stderr], [0, ""]);
  assert((await Deno.stat(fresh!)).isFile);
});

Deno.test("commands: exit with one line and code 2 for missing, invalid or unknown arguments", async () => {
  const cases: readonly [args: string[], env: Record<string, string>, words: string][] = [
    [["renew-epoch"], {}, "Cannot run renew-epoch: --mysql is missing"],
    [["renew-epoch"], { CHAT_MYSQL: "" }, "--mysql is missing"],
    [["renew-epoch"], { CHAT_MYSQL: "tcp://10.0.0.1:3306" }, "--mysql is missing"],
    [
      ["renew-epoch"],
      { CHAT_MYSQL: "mysql://ann:secret@host" },
      "Cannot run renew-epoch: --mysql must be like",
    ],
    [
      ["renew-epoch", "--mysql", "mysql://a@h/c", "--to", "x"],
      {},
      "Cannot run renew-epoch: unknown argument --to",
    ],
    [["backup", "--to", "x"], {}, "Cannot run backup: --db is missing"],
    [
      ["renew-epoch", "--mysql-password-file", "f"],
      { CHAT_MYSQL: "mysql://ann:secret@host/chat" },
      "remove one of them",
    ],
  ];
  const outcomes = await Promise.all(cases.map(([args, env]) => command(args, env)));
  for (const [i, { code, stderr }] of outcomes.entries()) {
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, cases[i]![2]);
    const errors = stderr.trimEnd().split("\n").filter((line) => !line.startsWith("Warning: "));
    assertEquals([errors.length, stderr.includes("secret")], [1, false]);
  }
});

Deno.test("commands: renew-epoch reads authority and password from the named files", async () => {
  await using authority = await Authority.make();
  const { cert, key } = await authority.issue("127.0.0.1");
  await using server = await startMariadb({ args: [`--ssl-cert=${cert}`, `--ssl-key=${key}`] });
  const store = await openMysql(server.url(DATABASE));
  const { epoch } = await store.identity();
  await store.close();
  await server.sql("CREATE USER careful@'127.0.0.1' IDENTIFIED BY ? REQUIRE SSL", [PASSWORD]);
  await server.sql(`GRANT ALL ON ${DATABASE}.* TO careful@'127.0.0.1'`);
  const file = `${server.folder}/password`;
  await Deno.writeTextFile(file, `${PASSWORD}\n`, { mode: 0o600 });
  const [url, CHAT_MYSQL_CA] = [urlOf(server, "careful"), authority.caFile];

  const refused = await command(["renew-epoch", "--mysql", url, "--mysql-password-file", file]);
  assertEquals(refused.code, 1);
  const flags = await command([
    ...["renew-epoch", "--mysql", url, "--mysql-ca", authority.caFile, "--mysql-password-file", file],
  ]);
  assertEquals([flags.code, flags.stderr], [0, ""]);
  const variables = { CHAT_MYSQL: url, CHAT_MYSQL_CA, CHAT_MYSQL_PASSWORD_FILE: file };
  const found = await command(["renew-epoch"], variables);
  assertEquals([found.code, found.stderr], [0, ""]);
  assertEquals(new Set([epoch, flags.stdout, found.stdout]).size, 3);

  // A password on the command line works, with a warning.
  const shown = url.replace("careful@", `careful:${encodeURIComponent(PASSWORD)}@`);
  const open = await command(["renew-epoch", "--mysql", shown], { CHAT_MYSQL_CA });
  assertEquals(open.code, 0);
  assertStringIncludes(open.stderr, "Warning: a password is on the command line");
  assertStringIncludes(open.stderr, "CHAT_MYSQL");
  assertEquals([open.stderr.includes(PASSWORD), open.stderr.includes(encodeURIComponent(PASSWORD))], [
    false,
    false,
  ]);
});
