/** A database server that can lose commits gets no writes, at the start and at any later time. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { parseAddress } from "../../lib/store/mysql/address.ts";
import { checkSettings, checkVersion } from "../../lib/store/mysql/checks.ts";
import { DatabaseError, toDatabaseError, UnsafeServerError } from "../../lib/store/mysql/errors.ts";
import type { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { Pool } from "../../lib/store/mysql/pool.ts";
import { SCHEMA_VERSION } from "../../lib/store/mysql/schema/migrate.ts";
import { MysqlConnection } from "../../lib/store/mysql/mysql_connection.ts";
import { Sql, sql } from "../../lib/store/mysql/sql.ts";
import { sharedMariadb, startMariadb } from "../harness/mariadb.ts";
import { until } from "../harness/wait.ts";
import { withStores } from "./mysql_fixture.ts";
import { granted, makeUsers, send, whole } from "./store_fixture.ts";
import { BEGIN, COMMIT } from "../../lib/store/mysql/transaction.ts";

const mariadb = sharedMariadb();

/** Sends messages until one is rejected, and returns the reason. Asserts that the earlier ones are stored. */
async function refusalOf(store: MysqlStore, a: number, b: number): Promise<UnsafeServerError> {
  let count = 0;
  return await until(
    () => send(store, a, b, `before ${count++}`).then(() => undefined, (error) => error),
    "a refusal",
  );
}

/** Lets `change` see and replace all statements of all connections while `body` runs. */
async function meddling(
  change: (statements: readonly Sql[]) => readonly Sql[],
  body: () => Promise<void>,
): Promise<void> {
  const { query } = MysqlConnection.prototype;
  MysqlConnection.prototype.query = function (...statements) {
    return query.apply(this, [...change(statements)]);
  };
  try {
    await body();
  } finally {
    MysqlConnection.prototype.query = query;
  }
}

mariadb.test("mysql safety: I1 stops writing when a setting becomes unsafe", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    granted(await send(store, a, b, "1"));
    await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 0");
    try {
      const error = await refusalOf(store, a, b);
      assert(error instanceof UnsafeServerError, String(error));
      assertStringIncludes(error.message, "innodb_flush_log_at_trx_commit is 0");
      await assertRejects(() => MysqlConnection.open(parseAddress(db.url)), UnsafeServerError);
    } finally {
      await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    }
    granted(await send(store, a, b, "after"));
  });
});

mariadb.test("mysql safety: I1 checks the settings in a request that changes autocommit", async (db) => {
  await withStores(1, db, async () => {}); // creates the schema
  await using session = await closing(MysqlConnection.open(parseAddress(db.url)));
  await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 0");
  try {
    const query = async () => {
      await session.query(BEGIN, COMMIT);
      await session.query(sql`SELECT 1`);
    };
    const error = await until(() => query().catch((error) => error), "a refusal");
    assert(error instanceof UnsafeServerError, String(error));
    assertStringIncludes(error.message, "innodb_flush_log_at_trx_commit is 0");
  } finally {
    await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
  }
});

mariadb.test("mysql safety: rejects a call without waiting when the server is unsafe", async (db) => {
  await withStores(1, db, async () => { // creates the schema
    const pool = new Pool(parseAddress(db.url), 2);
    const [taken, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const use = pool.use(() => {
      taken.resolve();
      return release.promise;
    });
    try {
      await taken.promise;
      await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2");
      await assertRejects(
        () => pool.read(sql`SELECT 1`),
        UnsafeServerError,
        "innodb_flush_log_at_trx_commit is 2",
      );
    } finally {
      await db.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
      release.resolve();
      await use;
      await pool.close();
    }
  });
});

Deno.test("mysql safety: I1 rejects a server while its settings are unsafe", async () => {
  await using server = await startMariadb();
  await using db = await server.fresh();
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    granted(await send(store, a, b, "1"));
    await server.stop();
    await server.start();
    await server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 2");
    await assertRejects(
      () => send(store, a, b, "2"),
      UnsafeServerError,
      "innodb_flush_log_at_trx_commit is 2",
    );
    await server.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
    assertEquals(granted(await send(store, a, b, "3")).seq, 2);
  });
});

mariadb.test("mysql safety: stops writing, with a reason, when the schema becomes newer", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    granted(await send(store, a, b, "1"));
    await db.sql("INSERT INTO SchemaVersion (version) VALUES (?)", [SCHEMA_VERSION + 1]);
    const error = await refusalOf(store, a, b);
    assert(error instanceof UnsafeServerError, String(error));
    assertStringIncludes(error.message, `version ${SCHEMA_VERSION + 1}`);
    await assertRejects(() => MysqlConnection.open(parseAddress(db.url)), UnsafeServerError, "newer release");
  });
});

mariadb.test("mysql safety: reports a transaction that the server has rolled back", async (db) => {
  await db.sql("CREATE TABLE t (id INT PRIMARY KEY) ENGINE = InnoDB");
  await using session = await closing(MysqlConnection.open({ ...parseAddress(db.url), database: "" }));
  await session.query(sql`USE ${new Sql(db.name)}`);
  const give = sql`ROLLBACK`; // as if by itself: its reply has the same status bit
  const conflict = await assertRejects(
    () => session.query(BEGIN, sql`INSERT INTO t VALUES (1)`, give, sql`INSERT INTO t VALUES (2)`),
    DatabaseError,
    "by itself",
  );
  assertEquals(conflict.kind, "conflict");
  await session.rollback();
  await session.query(BEGIN, sql`INSERT INTO t VALUES (3)`, COMMIT);
  const uncommitted = await assertRejects(
    () => session.query(BEGIN, sql`INSERT INTO t VALUES (4)`, give, sql`INSERT INTO t VALUES (5)`, COMMIT),
    DatabaseError,
  );
  assertEquals(uncommitted.kind, "conflict");
  await session.rollback();
  assertEquals((await session.query(sql`SELECT @@autocommit AS autocommit`))[0]!.rows, [{ autocommit: 1 }]);
  assertEquals(await db.sql("SELECT id FROM t ORDER BY id"), [{ id: 3 }], "nothing of the others");
});

for (const [where, offset] of [["before", 0], ["after", 1]] as const) {
  mariadb.test(`mysql safety: I1 retries a transaction rolled back ${where} its rows`, async (db) => {
    await withStores(1, db, async (store) => {
      const [a, b] = await makeUsers(store, 2) as [number, number];
      granted(await send(store, a, b, "0"));
      let done = false;
      const change = (statements: readonly Sql[]) => {
        const at = statements.findIndex(({ text }) => text.includes("INSERT INTO Message"));
        if (done || at < 0) return statements;
        done = true;
        return statements.toSpliced(at + offset, 0, sql`ROLLBACK`);
      };
      await meddling(change, async () => {
        const sent = granted(await send(store, a, b, "1"));
        assertEquals([sent.seq, sent.duplicate], [2, false]);
      });
      assert(done);
      assertEquals((await whole(store, a, b)).map(({ cid, seq }) => [cid, seq]), [["0", 1], ["1", 2]]);
      assertEquals(granted(await send(store, a, b, "2")).seq, 3);
    });
  });
}

Deno.test("mysql safety: retries a conflict during a commit in a replicated group", () => {
  const error = (sqlMessage: string) =>
    Object.assign(new Error(sqlMessage), { errno: 1_180, sqlState: "HY000", sqlMessage });
  const conflict = error('Got error 149 - "Lock deadlock; Retry transaction" during COMMIT');
  assertEquals(toDatabaseError(conflict).kind, "conflict");
  assertEquals(
    toDatabaseError(error('Got error 28 - "No space left on device" during COMMIT')).kind,
    "unavailable",
  );
  assertEquals(toDatabaseError(error('Got error 1149 - "x" during COMMIT')).kind, "unavailable");
});

Deno.test("mysql safety: rejects Galera unless all nodes use one member, and TiDB always", () => {
  const settings = new Map([
    ["innodb_flush_log_at_trx_commit", "1"],
    ["log_bin", "OFF"],
    ["max_allowed_packet", "67108864"],
    ["wsrep_on", "ON"],
  ]);
  assertThrows(() => checkSettings(settings), Error, "--single-writer");
  checkSettings(settings, true);
  checkSettings(settings.set("wsrep_on", "OFF"));
  for (const version of ["8.0.11-TiDB-v7.5", "5.7.25-TiDB-v7.1.1", "8.0.11-tidb-v8.5.0-serverless"]) {
    assertThrows(() => checkVersion(version), Error, "TiDB");
  }
});

mariadb.test("mysql safety: checks a server once a second, without a round trip", async (db) => {
  await withStores(1, db, async () => {}); // creates the schema
  const session = await MysqlConnection.open(parseAddress(db.url));
  try {
    const asked = async () => Number((await db.sql("SHOW GLOBAL STATUS LIKE 'Com_select'"))[0]!.Value);
    const before = await asked();
    const begin = performance.now();
    for (let i = 0; i < 200; i++) await session.query(BEGIN, COMMIT);
    const most = 1 + Math.floor((performance.now() - begin) / 1_000);
    assert(await asked() - before <= most, `${await asked() - before} of ${most}`);
  } finally {
    await session.close();
  }
});

async function closing(opening: Promise<MysqlConnection>): Promise<MysqlConnection & AsyncDisposable> {
  const session = await opening;
  return Object.assign(session, { [Symbol.asyncDispose]: () => session.close() });
}
