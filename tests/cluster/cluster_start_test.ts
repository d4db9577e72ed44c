/** The start of a server on MySQL and Redis: with the least permissions, and its failures. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { newUser } from "../harness/framed_client.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { type Outcome, runProgram } from "../harness/program.ts";
import { startRedis } from "../harness/redis.ts";
import { withServer } from "../harness/server.ts";

const mariadb = sharedMariadb();
const SECRET = "very-secret";

/** Asserts the exit code and a one-line error without the password, and returns that line. */
function lineOf({ code, stderr, stdout }: Outcome, expected: number): string {
  const line = stderr.trim();
  assertEquals([code, line.split("\n").length], [expected, 1], `${stderr}${stdout}`);
  assert(!line.includes(SECRET), line);
  return line;
}

for (const set of ["server", "server-mysql"]) {
  mariadb.test(`start: the permission set ${set} in deno.json suffices for MySQL and Redis`, async (database) => {
    await using redis = await startRedis();
    const args = ["--mysql", database.url, "--redis", redis.url, "--argon2-memory", "8"];
    await withServer({ permissions: ["--no-prompt", `-P=${set}`], args }, async (server) => {
      await using user = await newUser(server);
      await user.settle();
      const [row] = await database.sql("SELECT state, logins FROM User WHERE id = ?", [user.id]);
      assertEquals(row, { state: "online", logins: 1 });
    });
  });
}

mariadb.test("start: server-mysql suffices for workers, --upgrade-check and renew-epoch", async (database) => {
  const permissions = ["--no-prompt", "-P=server-mysql"];
  const mysql = ["--mysql", database.url];
  await withServer(
    { permissions, args: [...mysql, "--workers", "2", "--argon2-memory", "8"] },
    async (server) => {
      await using user = await newUser(server);
      await user.settle();
    },
  );
  const check = await runProgram("main.ts", ["--upgrade-check", ...mysql], { permissions });
  assertEquals(check.code, 0, check.stderr);
  assertStringIncludes(check.stdout, "up to date");
  const renewed = await runProgram("main.ts", ["renew-epoch", ...mysql], { permissions });
  assertEquals(renewed.code, 0, renewed.stderr);
  assertStringIncludes(renewed.stdout, "the epoch is");
});

mariadb.test("start: names an unusable database in one line without its password", async (database) => {
  const away = lineOf(
    await runProgram("main.ts", ["0"], { env: { CHAT_MYSQL: `mysql://u:${SECRET}@127.0.0.1:1/chat` } }),
    1,
  );
  assertStringIncludes(away, "127.0.0.1:1/chat");
  const url = new URL(database.url);
  url.username = "nobody";
  url.password = SECRET;
  assertStringIncludes(
    lineOf(await runProgram("main.ts", ["0"], { env: { CHAT_MYSQL: url.href } }), 1),
    "Access denied",
  );
});

Deno.test("start: names invalid or inconsistent URLs in one line without their passwords", async () => {
  const wrong: readonly (readonly [string, readonly string[]])[] = [
    ["--mysql must be like mysql://", ["--mysql", `mysql://u:${SECRET}@127.0.0.1`]],
    ["--mysql must be like mysql://", ["--mysql", `http://u:${SECRET}@127.0.0.1/chat`]],
    ["--redis must be like redis://", ["--redis", `mysql://u:${SECRET}@127.0.0.1/chat`]],
    ["--redis must be like redis://", ["--redis", `redis://:${SECRET}@127.0.0.1,`]],
    ["--redis needs --mysql", ["--redis", `redis://:${SECRET}@127.0.0.1`]],
    ["--upgrade-check needs --mysql", ["--upgrade-check"]],
  ];
  for (const [words, args] of wrong) {
    assertStringIncludes(lineOf(await runProgram("main.ts", ["0", ...args]), 2), words);
  }
});

mariadb.test("start: --upgrade-check prints the changes, makes none, and is repeatable", async (database) => {
  await database.sql(
    "CREATE TABLE user (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50), password VARCHAR(50))",
  );
  await database.sql("INSERT INTO user (name, password) VALUES ('ann', ?)", [SECRET]);
  const check = () => runProgram("main.ts", ["--upgrade-check", "--mysql", database.url]);
  const first = await check();
  assertEquals([first.code, first.stderr], [0, ""]);
  assertStringIncludes(first.stdout, "rename the table user to User");
  assert(!first.stdout.includes(SECRET));
  assertEquals((await check()).stdout, first.stdout);
  await database.sql("CREATE TABLE User (id INT PRIMARY KEY)");
  const refused = await check();
  assertEquals(refused.code, 1);
  assertStringIncludes(refused.stdout, "it would not start");
  await database.sql("DROP TABLE User");
  await withServer({ args: ["--mysql", database.url] }, (server) => Promise.resolve(assert(server.running)));
  assertStringIncludes((await check()).stdout, "up to date");
});
