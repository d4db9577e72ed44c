/** Passwords and certificates of MySQL and Redis in files. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { defaults, parseCommand } from "../../lib/config/config.ts";
import type { Warning } from "../../lib/config/environment.ts";
import { mysqlAccess, redisUrls } from "../../lib/node/services.ts";
import { Errno } from "../harness/protocol_numbers.ts";
import { login, newUser } from "../harness/framed_client.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { startServer } from "../harness/server.ts";
import { Authority } from "../harness/tls.ts";

const mariadb = sharedMariadb();
const none = () => {};

/** Runs `body` with a new file. */
async function withFile(text: string, body: (file: string) => Promise<void>, mode = 0o600): Promise<void> {
  const file = await Deno.makeTempFile({ prefix: "chat-secret-" });
  try {
    await Deno.writeTextFile(file, text);
    await Deno.chmod(file, mode);
    await body(file);
  } finally {
    await Deno.remove(file);
  }
}

function passwordIn(file: string, warn: (warning: Warning) => void = none): Promise<string | undefined> {
  return mysqlAccess({ ...defaults(), mysqlPasswordFile: file }, warn).then(({ password }) => password);
}

Deno.test("services: reads a password file of one line with any line end, and never shows it", async () => {
  for (const text of ["a b%:@/", "a b%:@/\n", "a b%:@/\r\n"]) {
    await withFile(text, async (file) => assertEquals(await passwordIn(file), "a b%:@/"));
  }
  await withFile("", (file) => assertFails(() => passwordIn(file), `${file}: it is empty`));
  await withFile("\n", (file) => assertFails(() => passwordIn(file), `${file}: it is empty`));
  await withFile("secret\nmore", (file) => assertFails(() => passwordIn(file), "it has more than one line"));
  await assertFails(() => passwordIn("/nowhere/secret"), "Cannot read --mysql-password-file /nowhere/secret");
});

Deno.test("services: warns about a password file that others can read", async () => {
  for (
    const [mode, count] of [[0o600, 0], [0o640, 0], [0o660, 0], [0o604, 1], [0o602, 1], [0o644, 1]] as const
  ) {
    const warnings: Warning[] = [];
    await withFile("x", async (file) => {
      await passwordIn(file, (warning) => warnings.push(warning));
      assertEquals(warnings.length, count, mode.toString(8));
      if (count > 0) assertEquals(warnings[0]!.fields.file, file);
    }, mode);
  }
});

Deno.test("services: reads certificates of authorities, or names the file and its fault", async () => {
  await using authority = await Authority.make();
  const two = authority.ca + authority.ca;
  const access = (mysqlCa: string) => mysqlAccess({ ...defaults(), mysqlCa }, none);
  await withFile(two, async (file) => assertEquals((await access(file)).ca, two));
  const cut = authority.ca.slice(0, authority.ca.length >> 1);
  await withFile(authority.ca + cut, (file) => assertFails(() => access(file), `${file}: truncated`));
  const damaged = `${authority.ca}${cut}\n-----END CERTIFICATE-----\n`;
  await withFile(damaged, (file) => assertFails(() => access(file), `${file}: certificate 2 is damaged`));
  await withFile(
    "x",
    (file) => assertFails(() => access(file), `${file}: no certificate in PEM form`),
  );
  await assertFails(() => access("/nowhere"), "Cannot read --mysql-ca /nowhere");
});

async function assertFails(work: () => Promise<unknown>, words: string): Promise<void> {
  const { message } = await assertRejects(work, Error, words);
  assertEquals([message.includes("\n"), message.includes("secret\n")], [false, false]);
}

Deno.test("services: warns about a password on the command line only", () => {
  const [mysql, redis] = ["mysql://ann:secret@host/chat", "redis://host:1,redis://:secret@host:2"];
  const warned = (args: string[], env: Record<string, string> = {}) => {
    const command = parseCommand(args, { get: (name) => env[name], names: () => Object.keys(env) });
    const { warnings } = command as { warnings: readonly Warning[] };
    assertEquals(JSON.stringify(warnings).includes("secret"), false);
    return warnings.map(({ fields }) => fields.option);
  };
  assertEquals(warned(["--mysql", mysql, "--redis", redis]), ["--mysql", "--redis"]);
  assertEquals(warned([], { CHAT_MYSQL: mysql, CHAT_REDIS: redis }), []);
  assertEquals(warned(["--mysql", "mysql://ann@host/chat", "--redis", "redis://host"]), []);
  assertEquals(warned(["--upgrade-check", "--mysql", mysql]), ["--mysql"]);
});

mariadb.test("services: a server uses passwords of MySQL and Redis from files", async (db) => {
  const secret = "p@ss:w/rd 'é%41";
  await db.sql("CREATE USER filed@'127.0.0.1' IDENTIFIED BY ?", [secret]);
  await db.sql(`GRANT ALL ON ${db.name}.* TO filed@'127.0.0.1'`);
  await using redis = await startRedis();
  await redis.command("CONFIG", "SET", "requirepass", secret);
  await withFile(secret, async (file) => {
    const args = ["--mysql", db.server.url(db.name, "filed"), "--redis", redis.url];
    const files = ["--mysql-password-file", file, "--redis-password-file", file];
    await using server = await startServer({ args: [...args, ...files] });
    await using alice = await newUser(server);
    await using bob = await newUser(server);
    assertEquals((await alice.chat(bob.id, "hi")).errno, Errno.OK);
    await alice.close();
    await using again = await login(server, { id: alice.id });
    assertEquals(again.id, alice.id);
    assertEquals(/warn|error/.test(server.log()), false, server.log());
    assertEquals(server.log().includes(secret), false);
    const { stdout } = await new Deno.Command("cat", { args: [`/proc/${server.pid}/cmdline`] }).output();
    const command = new TextDecoder().decode(stdout); // the command line that ps shows
    assertStringIncludes(command, file);
    assertEquals(command.includes(secret), false);
  });
});

Deno.test("services: puts the password into every address of Redis", async () => {
  await withFile("a@b", async (redisPasswordFile) => {
    const redis = "redis://h1:1,rediss://ann@h2:2";
    assertEquals(await redisUrls({ redis, redisPasswordFile }, none), [
      "redis://:a%40b@h1:1",
      "rediss://ann:a%40b@h2:2",
    ]);
    assertEquals(await redisUrls({ redis, redisPasswordFile: "" }, none), redis.split(","));
  });
});
