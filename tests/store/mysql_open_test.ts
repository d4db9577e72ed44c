/** Opening a database on MySQL or MariaDB: rejections and their texts. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { parseAddress } from "../../lib/store/mysql/address.ts";
import { checkSettings, checkVersion } from "../../lib/store/mysql/checks.ts";
import { database } from "../harness/database_program.ts";
import { type Mariadb, sharedMariadb, startMariadb } from "../harness/mariadb.ts";
import { freePort } from "../harness/ports.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { granted, makeUsers, send } from "./store_fixture.ts";

const PASSWORD = "s3cret&word";

/** MariaDB before 11.1 has one of the two names, and MySQL the other one. */
const ISOLATION = database.name === "mysqld" ? "transaction_isolation" : "tx_isolation";

const mariadb = sharedMariadb();

/**
 * Returns the text of a rejection. Asserts that it is one line with the database's name and without the
 * password.
 */
async function refusal(url: string, name: string): Promise<string> {
  const error = await assertRejects(() => openMysql(url), Error, name);
  const shown = Deno.inspect(error);
  for (const secret of [PASSWORD, encodeURIComponent(PASSWORD), "s3cret"]) {
    assert(!shown.includes(secret), shown);
  }
  assert(!error.message.includes("\n"), error.message);
  return error.message;
}

function urlOf({ host, port }: { host: string; port: number }, database: string, user = "operator"): string {
  return `mysql://${user}:${encodeURIComponent(PASSWORD)}@${host}:${port}/${database}`;
}

async function makeOperator(server: Mariadb): Promise<void> {
  await server.sql("DROP USER IF EXISTS operator@'127.0.0.1'");
  await server.sql(`CREATE USER operator@'127.0.0.1' IDENTIFIED BY '${PASSWORD}'`);
  await server.sql("GRANT ALL ON *.* TO operator@'127.0.0.1'");
}

mariadb.test("mysql open: accepts any password, and creates a missing database", async (db) => {
  await makeOperator(db.server);
  const url = urlOf(db.server, `${db.name}_new`);
  const store = await openMysql(url);
  try {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    assertEquals(granted(await send(store, a, b, "1")).seq, 1);
  } finally {
    await store.close();
    await db.sql(`DROP DATABASE ${db.name}_new`);
  }
});

mariadb.test("mysql open: rejects an unusable database by one line without the password", async (db) => {
  await makeOperator(db.server);
  const { host, port } = db.server;
  const wrong = await refusal(urlOf(db.server, db.name, "unknown"), `${host}:${port}/${db.name}`);
  assertStringIncludes(wrong, "Access denied");
  const closed = freePort();
  const down = await refusal(urlOf({ host, port: closed }, db.name), `${host}:${closed}/${db.name}`);
  assertStringIncludes(down, "ECONNREFUSED");
  await db.sql("CREATE TABLE User (theirs INT)");
  await refusal(urlOf(db.server, db.name), db.name);
});

mariadb.test("mysql open: I1 rejects a server that does not flush its log", async (db) => {
  await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2");
  try {
    const words = await refusal(db.url, db.name);
    assertStringIncludes(words, "SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    assertEquals(await db.sql("SHOW TABLES"), [], "and nothing is made");
  } finally {
    await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
  }
  await withStores(1, db, async () => {});
});

Deno.test("mysql open: I1 rejects a server while it does not flush its binary log", async () => {
  await using server = await startMariadb({ args: ["--log-bin", "--server-id=1", "--sync-binlog=0"] });
  await using db = await server.fresh();
  assertStringIncludes(await refusal(db.url, db.name), "SET GLOBAL sync_binlog = 1");
  await server.sql("SET GLOBAL sync_binlog = 1");
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    granted(await send(store, a, b, "1"));
  });
});

mariadb.test("mysql open: works with any defaults of SQL mode, character set and isolation", async (db) => {
  const defaults = {
    sql_mode: "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT",
    [ISOLATION]: "SERIALIZABLE",
    autocommit: 0,
  };
  const before = (await db.sql(
    `SELECT @@sql_mode AS sql_mode, @@${ISOLATION} AS ${ISOLATION}, @@autocommit AS autocommit`,
  ))[0]!;
  const set = async (values: Record<string, unknown>) => {
    for (const [name, value] of Object.entries(values)) {
      await db.sql(`SET GLOBAL ${name} = ?`, [value as string]);
    }
  };
  await set(defaults);
  try {
    await withStores(2, db, async (one, two) => {
      const [a, b] = await makeUsers(one, 2) as [number, number];
      const bodies = ["'\\'' OR \"1\" || \\", "\\", "\\\\'", "\0"];
      for (const [i, body] of bodies.entries()) {
        granted(await send(i % 2 ? one : two, a, b, `${i}`, { body }));
      }
      const { messages: messages } = await two.read(b, a, 0, 10, 1_000);
      assertEquals(messages.map(({ body }) => body), bodies);
      assertEquals(await two.unread(b, 10), await one.unread(b, 10));
    });
  } finally {
    await set(before);
  }
});

Deno.test("mysql open: rejects settings that can lose a commit, and no others", () => {
  const safe: readonly (readonly [string, string])[] = [
    ["innodb_flush_log_at_trx_commit", "1"],
    ["log_bin", "ON"],
    ["sync_binlog", "1"],
    ["binlog_format", "ROW"],
    ["max_allowed_packet", "67108864"],
  ];
  const check = (...changes: readonly (readonly [string, string])[]) => () =>
    checkSettings(new Map([...safe, ...changes]));
  check()();
  check(["log_bin", "OFF"], ["sync_binlog", "0"], ["binlog_format", "STATEMENT"])();
  for (const value of ["0", "2", "3"]) {
    assertThrows(check(["innodb_flush_log_at_trx_commit", value]), Error, "innodb_flush_log_at_trx_commit");
  }
  for (const value of ["0", "1000"]) assertThrows(check(["sync_binlog", value]), Error, "sync_binlog");
  assertThrows(check(["binlog_format", "STATEMENT"]), Error, "binlog_format");
  assertThrows(check(["max_allowed_packet", "1048576"]), Error, "max_allowed_packet");
  assertThrows(() => checkSettings(new Map()), Error, "innodb_flush_log_at_trx_commit");
});

Deno.test("mysql open: rejects old versions", () => {
  for (
    const version of [
      "8.0.11",
      "8.0.36-0ubuntu0.22.04.1",
      "8.4.0",
      "9.1.0",
      "10.6.0-MariaDB",
      "5.5.5-10.11.6-MariaDB-log",
      "11.4.2-MariaDB",
    ]
  ) {
    checkVersion(version);
  }
  for (const version of ["5.7.44-log", "5.5.5-10.5.23-MariaDB", "10.5.9-MariaDB", "", "?"]) {
    assertThrows(() => checkVersion(version), Error, "or later is required");
  }
});

Deno.test("mysql open: parses the URL of a database, and does not show an invalid one", () => {
  assertEquals(parseAddress("mysql://ann:a%40b%2F%3A@db.example:3307/chat"), {
    host: "db.example",
    port: 3_307,
    user: "ann",
    password: "a@b/:",
    database: "chat",
    name: "db.example:3307/chat",
  });
  assertEquals(parseAddress("mysql://ann@[::1]/chat").host, "::1");
  assertEquals(parseAddress("mysql://ann@[::1]/chat").name, "[::1]:3306/chat");
  for (
    const url of [
      `http://ann:${PASSWORD}@host/chat`,
      `mysql://ann:${PASSWORD}@host/`,
      `mysql://ann:${PASSWORD}@host:99999/chat`,
      `mysql://ann:${PASSWORD}@host/chat?flags=-FOUND_ROWS`,
      `mysql://:${PASSWORD}@host/chat`,
      `mysql://ann:%${PASSWORD}@host/chat`,
      PASSWORD,
    ]
  ) {
    const { message } = assertThrows(
      () => parseAddress(url),
      Error,
      "mysql://user:password@host:port/database",
    );
    assert(!message.includes(PASSWORD), message);
  }
});
