/** The migration of the MySQL schema: from nothing, from an incomplete one, and by many nodes at once. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { createConnection } from "mysql2/promise";
import { inspectSchema } from "../../lib/store/mysql/schema/current_schema.ts";
import { makePlan } from "../../lib/store/mysql/schema/plan.ts";
import { checkUpgrade, migrate, SCHEMA_VERSION } from "../../lib/store/mysql/schema/migrate.ts";
import { database } from "../harness/database_program.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { ROOT } from "../harness/program.ts";
import { needTool } from "../harness/tools.ts";
import { until, within } from "../harness/wait.ts";
import {
  CLASSIC,
  connectionTo,
  fingerprint,
  RecordedLog,
  run,
  shapeOf,
  tablesOf,
} from "./mysql_databases.ts";

const shared = sharedMariadb();

shared.test("mysql schema: creates a missing database once, and then leaves it unchanged", async (db) => {
  await db.server.sql(`DROP DATABASE ${db.name}`);
  const check = await checkUpgrade(connectionTo(db));
  assertEquals(check.blockers, []);
  assertEquals(check.changes[0], `create the database ${db.name}`);
  assertEquals(await db.server.sql("SHOW DATABASES LIKE ?", [db.name]), []);

  const first = new RecordedLog();
  await migrate(connectionTo(db), first);
  assertEquals(first.steps, check.changes.slice(1));
  assertEquals(await db.sql("SELECT version FROM SchemaVersion"), [{ version: SCHEMA_VERSION }]);
  assertEquals((await shapeOf(db)).database, [{ default_collation_name: "utf8mb4_bin" }]);

  const made = await fingerprint(db);
  const again = new RecordedLog();
  await migrate(connectionTo(db), again);
  assertEquals(again.steps, []);
  assertEquals(await checkUpgrade(connectionTo(db)), { changes: [], blockers: [] });
  assertEquals(await fingerprint(db), made);
});

shared.test("mysql schema: equals and accepts a schema that schema.sql has created by hand", async (db) => {
  await needTool(database.client, database.clientPackage);
  await migrate(connectionTo(db), new RecordedLog());
  const { host, port } = db.server;
  const child = new Deno.Command(database.client, {
    args: ["--no-defaults", `--host=${host}`, `--port=${port}`, "--user=root"],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(await Deno.readFile(new URL("schema.sql", ROOT)));
  await writer.close();
  const { success, stderr } = await child.output();
  try {
    assert(success, new TextDecoder().decode(stderr));
    assertEquals(await tablesOf(db, "chat"), await tablesOf(db));
    assertEquals((await shapeOf(db, "chat")).database, [{ default_collation_name: "utf8mb4_bin" }]);
    const log = new RecordedLog();
    await migrate({ ...connectionTo(db), database: "chat" }, log);
    assertEquals(log.steps, []);
  } finally {
    await db.server.sql("DROP DATABASE IF EXISTS chat");
  }
});

for (const [kind, statements] of [["an empty database", []], ["a C++ server's database", CLASSIC]] as const) {
  shared.test(`mysql schema: one of ten nodes that start at once migrates ${kind}`, async (db) => {
    await run(db, ...statements);
    const log = new RecordedLog();
    await Promise.all(Array.from({ length: 10 }, () => migrate(connectionTo(db), log)));
    assertEquals(log.steps.length, new Set(log.steps).size, "no step ran twice");
    assertEquals(await db.sql("SELECT version FROM SchemaVersion"), [{ version: SCHEMA_VERSION }]);
  });
}

shared.test("mysql schema: waits for another node's migration of any duration", async (db) => {
  const other = await createConnection(connectionTo(db));
  let ended: Promise<void>;
  try {
    const [rows] = await other.query("SELECT GET_LOCK(?, 0) AS got", [`chat schema of ${db.name}`]);
    assertEquals(rows as unknown, [{ got: 1 }]);
    ended = migrate(connectionTo(db), new RecordedLog());
    await until(
      async () =>
        (await db.sql("SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'")).length > 0,
      "a node that waits",
    );
    assertEquals(await db.sql("SHOW TABLES"), []);
  } finally {
    await other.end();
  }
  await within(ended, "the node that waited");
  assertEquals(await db.sql("SELECT version FROM SchemaVersion"), [{ version: SCHEMA_VERSION }]);
});

shared.test("mysql schema: continues a migration after any of its steps", async (db) => {
  const made = await withFresh(async (whole) => {
    await migrate(connectionTo(whole), new RecordedLog());
    return await tablesOf(whole);
  });
  for (let done = 1, steps = 2; done < steps; done++) {
    await withFresh(async (half) => {
      const connection = await createConnection(connectionTo(half));
      try {
        const { before } = await makePlan(connection, await inspectSchema(connection), () => {});
        steps = before.length;
        for (const step of before.slice(0, done)) await step.run(connection);
      } finally {
        await connection.end();
      }
      const log = new RecordedLog();
      await migrate(connectionTo(half), log);
      assert(!log.steps.some((step) => step.endsWith(" User")), "no step is repeated");
      assertEquals(await tablesOf(half), made);
    });
  }
  assertEquals(await db.sql("SHOW TABLES"), []);
});

shared.test("mysql schema: rejects a newer version, and leaves it unchanged", async (db) => {
  await migrate(connectionTo(db), new RecordedLog());
  await run(db, "UPDATE SchemaVersion SET version = 7");
  const before = await fingerprint(db);
  for (
    const open of [() => migrate(connectionTo(db), new RecordedLog()), () => checkUpgrade(connectionTo(db))]
  ) {
    const error = await assertRejects(
      open,
      Error,
      "its schema has version 7, and this program supports 1 only",
    );
    assert(!error.message.includes("\n"));
  }
  assertEquals(await fingerprint(db), before);
});

shared.test("mysql schema: names a table of another program, and changes nothing", async (db) => {
  await run(db, "CREATE TABLE Session (sid VARCHAR(64) PRIMARY KEY, data BLOB)");
  const before = await fingerprint(db);
  await assertRejects(
    () => migrate(connectionTo(db), new RecordedLog()),
    Error,
    "there is a Session that is not",
  );
  assertEquals((await checkUpgrade(connectionTo(db))).blockers, [
    "there is a Session that is not the chat server's: rename it",
  ]);
  assertEquals(await fingerprint(db), before);
});

shared.test("mysql schema: names missing rights, and continues once they are granted", async (db) => {
  const account = `user_${db.name}`;
  try {
    await db.sql(`CREATE USER ${account}`);
    await assertRejects(
      () => migrate(connectionTo(db, account), new RecordedLog()),
      Error,
      `ON \`${db.name}\`.* TO that user`,
    );
    const most = "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX";
    await db.sql(`GRANT ${most} ON ${db.name}.* TO ${account}`);
    const error = await assertRejects(() => migrate(connectionTo(db, account), new RecordedLog()), Error);
    assertStringIncludes(error.message, "CREATE VIEW");
    assert(!error.message.includes("\n"), error.message);
    await db.sql(`GRANT CREATE VIEW ON ${db.name}.* TO ${account}`);
    await migrate(connectionTo(db, account), new RecordedLog());
    assertEquals(await db.sql("SELECT version FROM SchemaVersion"), [{ version: SCHEMA_VERSION }]);
  } finally {
    await db.server.sql(`DROP USER IF EXISTS ${account}`);
  }
});

async function withFresh<T>(body: (db: TestDatabase) => Promise<T>): Promise<T> {
  await using db = await shared.fresh();
  return await body(db);
}
