/** The rights on MySQL: the server, the migration and the commands need exactly those that are listed. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { GRANTS, RUNNING_GRANTS } from "../../lib/store/mysql/schema/grants.ts";
import { checkUpgrade, migrate } from "../../lib/store/mysql/schema/migrate.ts";
import { Errno } from "../harness/protocol_numbers.ts";
import { newGroup, newUser } from "../harness/framed_client.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { ROOT, runProgram } from "../harness/program.ts";
import { withServer } from "../harness/server.ts";
import { connectionTo, FAST_OPTIONS, RecordedLog, ROWS, run, tables } from "./mysql_databases.ts";

const shared = sharedMariadb({ args: FAST_OPTIONS });
const durable = sharedMariadb();

/** A database that needs all kinds of changes. */
const OLD: readonly string[] = [
  ...tables("ENGINE = InnoDB DEFAULT CHARSET = latin1", {
    User:
      "id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(50), password VARCHAR(50), state ENUM('online','offline')",
    Friend:
      "userid INT, friendid INT, UNIQUE KEY OneFriend (userid), FOREIGN KEY (userid) REFERENCES User(id)",
  }),
  ...ROWS,
  "RENAME TABLE AllGroup TO allgroup",
];

/** Creates an account with these rights on the database, and no others. */
async function account({ server, name: database }: Pick<TestDatabase, "server" | "name">, grants: string) {
  const name = `a${crypto.randomUUID().slice(0, 8)}`;
  await server.sql(`CREATE USER ${name}@'127.0.0.1'`);
  if (grants) await server.sql(`GRANT ${grants} ON ${database}.* TO ${name}@'127.0.0.1'`);
  return name;
}

/** Uses all functions of the server, including the raising of id counters. */
async function useServer(db: TestDatabase, user: string): Promise<void> {
  // A new database has no such table.
  await db.sql("INSERT IGNORE INTO Friend (userid, friendid) VALUES (1, 900)").catch(() => {});
  await withServer({ args: ["--mysql", db.server.url(db.name, user)] }, async (server) => {
    await using alice = await newUser(server);
    await using bob = await newUser(server);
    const group = await newGroup(alice, [bob]);
    assertEquals((await alice.chat(bob.id, "hi")).errno, Errno.OK);
    assertEquals((await alice.succeed({ msgid: 10, groupid: group, msg: "hi" })).errno, Errno.OK);
    assertEquals(server.log().includes("denied"), false);
  });
}

durable.test("grants: the listed rights suffice to create, use and migrate a database", async (db) => {
  const user = await account(db, GRANTS);
  await db.sql(`DROP DATABASE ${db.name}`);
  await useServer(db, user);
  await useServer(db, user);
  const env = { CHAT_MYSQL: db.server.url(db.name, user) };
  const renewed = await runProgram("main.ts", ["renew-epoch", "--new-deployment"], { env });
  assertEquals([renewed.code, renewed.stderr], [0, ""]);

  await using old = await db.server.fresh();
  await run(old, ...OLD);
  const upgrader = await account(old, GRANTS);
  const checked = await runProgram("main.ts", ["--upgrade-check"], {
    env: { CHAT_MYSQL: old.server.url(old.name, upgrader) },
  });
  assertEquals(checked.code, 0, checked.stdout + checked.stderr);
  await useServer(old, upgrader);

  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  assertStringIncludes(readme, `GRANT ${GRANTS} ON chat.*`);
  const operations = await Deno.readTextFile(new URL("docs/OPERATIONS.md", ROOT));
  assertStringIncludes(operations.replaceAll("\n", " "), `needs \`${GRANTS}\` on the database`);
});

durable.test("grants: fewer rights suffice to use a current database and to renew its epoch", async (db) => {
  await migrate(connectionTo(db), new RecordedLog());
  const user = await account(db, RUNNING_GRANTS);
  await useServer(db, user);
  const { code, stderr } = await runProgram("main.ts", ["renew-epoch"], {
    env: { CHAT_MYSQL: db.server.url(db.name, user) },
  });
  assertEquals([code, stderr], [0, ""]);
});

for (const right of GRANTS.split(", ")) {
  shared.test(`grants: a migration without ${right} fails, and names the missing right`, async (db) => {
    await run(db, ...OLD);
    const rest = GRANTS.split(", ").filter((other) => other !== right).join(", ");
    const user = await account(db, rest);
    const message = await migrate(connectionTo(db, user), new RecordedLog()).then(
      () => "",
      (error) => error.message,
    );
    assertStringIncludes(message, "denied");
    if (message.startsWith("Cannot ")) {
      assertStringIncludes(message, `the account needs the rights ${GRANTS}`);
    }
  });
}

shared.test("grants: names all rights to an account without rights", async (db) => {
  const user = await account(db, "");
  const message = await checkUpgrade(connectionTo(db, user)).then(() => "", (error) => error.message);
  assertStringIncludes(message, `GRANT ${GRANTS} ON \`${db.name}\`.*`);
});
