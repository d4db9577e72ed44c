/** The refusals of the permission sets in deno.json to a malicious package in a server's process. */
import { assert, assertEquals } from "@std/assert";
import { plant } from "../chaos/bugs.ts";
import { newUser } from "../harness/framed_client.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { ROOT } from "../harness/program.ts";
import { type ServerOptions, withServer } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const mariadb = sharedMariadb();

/** The results of the attempts of tests/harness/intruder.ts by name: `done`, or the error. */
type Tries = Readonly<Record<string, string>>;

/** The prefix of the intruder's line. */
const TRIED = "intruder: ";

/** The error of SQL that opens another file, which the runtime permits only with all permissions. */
const NO_SECOND_DATABASE = /^Error: too many attached databases/;

/** Attempts that are part of a server's work. */
const READ = ["read the code", "read a secret"];
const DATA = ["write in the data folder", "read the data folder"];

/** A checkout with the surroundings of a real machine, from which servers start. */
async function inCheckout(body: (root: string) => Promise<void>): Promise<void> {
  await using tree = await plant();
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const root = `${folder}/checkout`;
    await Deno.rename(tree.root, root);
    await Deno.mkdir(tree.root); // so that it can be removed
    for (
      const made of ["checkout/.git/hooks", "checkout/data", "checkout/secrets", "checkout/tests", "home"]
    ) {
      await Deno.mkdir(`${folder}/${made}`, { recursive: true });
    }
    for (const made of [".git/config", "secrets/key.pem", "data/file", "data/database"]) {
      await Deno.writeTextFile(`${root}/${made}`, "here");
    }
    await Deno.writeTextFile(`${folder}/home/.profile`, "here");
    await Deno.writeTextFile(`${folder}/home/evil.ts`, "export {};");
    await Deno.writeTextFile(`${folder}/home/other.db`, "");
    await Deno.copyFile(new URL("tests/harness/intruder.ts", ROOT), `${root}/tests/intruder.ts`);
    await body(root);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Returns the results of the intruder's attempts in a server with these permissions that serves a user. */
async function triesIn(permissions: readonly string[], options: ServerOptions = {}): Promise<Tries> {
  let tries: Tries = {};
  await inCheckout(async (root) => {
    const all = ["--no-prompt", ...permissions, "--preload", "tests/intruder.ts"];
    const env = { HOME: `${root}/../home` };
    const db = `${root}/data/chat.db`;
    await withServer({ ...options, root, permissions: all, env, db }, async (server) => {
      Deno.kill(server.pid, "SIGUSR2");
      const line = await until(
        () => server.log().split("\n").find((line) => line.startsWith(TRIED) && line.endsWith("}")),
        "the intruder's tries",
      );
      tries = JSON.parse(line.slice(TRIED.length));
      await using user = await newUser(server);
      await user.settle();
    });
  });
  return tries;
}

/** Asserts that exactly these attempts succeed, and that the runtime refuses all others. */
function assertRefused(tries: Tries, ...allowed: readonly string[]): void {
  assert(Object.keys(tries).length > 40);
  assertEquals(Object.keys(tries).filter((name) => tries[name] === "done").toSorted(), allowed.toSorted());
  const otherwise = Object.entries(tries).filter(([name, result]) =>
    !allowed.includes(name) && !/NotCapable|Requires \w+ access/.test(result) &&
    !NO_SECOND_DATABASE.test(result)
  );
  assertEquals(otherwise, [], "they fail, but not for want of a permission");
}

Deno.test("permissions: with -A every attempt of the intruder succeeds", async () => {
  const tries = await triesIn(["-A"]);
  assertEquals(Object.entries(tries).filter(([, result]) => result !== "done"), []);
});

Deno.test("permissions: -P=server reads code and secrets, writes its data folder, and no more", async () => {
  assertRefused(await triesIn(["-P=server"]), ...READ, ...DATA);
});

mariadb.test("permissions: -P=server releases the write permission for its data folder on MySQL", async (database) => {
  const tries = await triesIn(["-P=server"], { args: ["--mysql", database.url] });
  assertRefused(tries, ...READ, "read the data folder");
});

mariadb.test("permissions: -P=server-mysql writes nothing", async (database) => {
  assertRefused(await triesIn(["-P=server-mysql"], { args: ["--mysql", database.url] }), ...READ);
});

Deno.test("permissions: every set is narrow in each kind that the runtime can narrow", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const names = Object.keys(permissions).filter((name) => name.startsWith("server"));
  assertEquals(names, ["server", "server-mysql"]);
  for (const name of names) {
    const { net, read, write = [], env, sys, ...others } = permissions[name];
    assertEquals([net, env, sys, others], [
      true, // addresses of MySQL and Redis are options
      // `ignore`: libraries read other variables, and find them unset
      { allow: ["CHAT_*", "npm_command"], ignore: true },
      name === "server" ? ["statfs"] : undefined,
      {},
    ]);
    const code = ["./lib", "./schema.sql"]; // workers read the schema as a module
    const former = ["./chat.db", "./chat.db-wal", "./chat.db-shm", "./chat.db.lock"];
    const isOnMysql = name === "server-mysql";
    assertEquals(read, isOnMysql ? [...code, "./secrets"] : [...code, "./data", "./secrets", ...former]);
    assertEquals(write, isOnMysql ? [] : ["./data", "./chat.db", "./chat.db.lock"]);
  }
});
