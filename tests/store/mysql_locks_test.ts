/**
 * Locks in the database: all nodes take them in one order, a frozen node releases them, and cursors never go
 * back.
 */
import { assert, assertEquals, assertLess, assertLessOrEqual, assertRejects } from "@std/assert";
import { parseAddress } from "../../lib/store/mysql/address.ts";
import { MAX_IDLE_MS, MysqlConnection } from "../../lib/store/mysql/mysql_connection.ts";
import { sql } from "../../lib/store/mysql/sql.ts";
import { sharedMariadb, type TestDatabase, type Transaction } from "../harness/mariadb.ts";
import { Relay } from "../harness/relay.ts";
import { until } from "../harness/wait.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { granted, makeGroup, makeUsers, PLENTY, send, seqs } from "./store_fixture.ts";
import { BEGIN } from "../../lib/store/mysql/transaction.ts";

const mariadb = sharedMariadb();

/**
 * Resolves when a transaction waits for a lock. INNODB_TRX does not serve, as frequent queries get old
 * results.
 */
async function untilWaiting(db: TestDatabase): Promise<void> {
  await until(async () => {
    const [row] = await db.sql("SHOW ENGINE INNODB STATUS");
    const [, transactions] = String(row!.Status).split("\nTRANSACTIONS\n");
    return transactions!.includes("\nLOCK WAIT ");
  }, "a transaction that waits for a lock");
}

/** Asserts that no other transaction locks a row that follows the row that it waits for. */
async function assertFree(operator: Transaction, statement: string, values: number[], name: string) {
  await operator.sql(`${statement} FOR UPDATE NOWAIT`, values).catch((error) => {
    throw new Error(`${name} is locked before its predecessors: ${error.message}`);
  });
}

const CONVERSATION = "SELECT * FROM Conversation WHERE low = ? AND high = ?";
const CURSOR = "SELECT * FROM MemberCursor WHERE userid = ? AND low = ? AND high = ?";

mariadb.test("mysql locks: locks conversations in the order of keys", async (db) => {
  await using relay = new Relay(db.server);
  const locking: string[] = [];
  relay.decide = (piece) => {
    const [statement] = /SELECT [^;]*FROM Conversation[^;]*FOR UPDATE/.exec(piece) ?? [];
    if (statement) locking.push(statement);
    return "pass";
  };
  const store = await openMysql(`mysql://root@${relay.host}:${relay.port}/${db.name}`);
  try {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    for (const peer of [b, c, d]) await send(store, a, peer, `first to ${peer}`);
    await using operator = await db.transaction();
    await operator.sql(`${CONVERSATION} FOR UPDATE`, [a, b]);
    const sent = Promise.all([d, c, b].map((peer) => send(store, a, peer, `second to ${peer}`)));
    await untilWaiting(db);
    for (const peer of [c, d]) await assertFree(operator, CONVERSATION, [a, peer], `${a} ${peer}`);
    await operator.sql("COMMIT");
    assertEquals((await sent).map((answer) => granted(answer).seq), [2, 2, 2]);
    // The plan of one server may have the order without a request for it, and the plan of another may not.
    assert(locking.length > 0);
    for (const statement of locking) assert(/ORDER BY low, high FOR UPDATE/.test(statement), statement);
  } finally {
    await store.close();
  }
});

mariadb.test("mysql locks: creates conversations in the order of keys", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    await using operator = await db.transaction();
    await operator.sql("INSERT INTO Conversation (low, high, last_seq) VALUES (?, ?, 0)", [a, b]);
    const sent = Promise.all([d, c, b].map((peer) => send(store, a, peer, `to ${peer}`)));
    await untilWaiting(db);
    for (const peer of [c, d]) await assertFree(operator, CONVERSATION, [a, peer], `${a} ${peer}`);
    await operator.sql("ROLLBACK");
    assertEquals((await sent).map((answer) => granted(answer).seq), [1, 1, 1]);
  });
});

mariadb.test("mysql locks: locks cursors in the order of keys", async (db) => {
  await using relay = new Relay(db.server);
  const reading: string[] = [];
  relay.decide = (piece) => {
    const [statement] = /SELECT [^;]*FROM MemberCursor LEFT JOIN[^;]*;?/.exec(piece) ?? [];
    if (statement) reading.push(statement);
    return "pass";
  };
  const store = await openMysql(`mysql://root@${relay.host}:${relay.port}/${db.name}`);
  try {
    const users = await makeUsers(store, 4) as [number, number, number, number];
    const [a, b, c, d] = users;
    const group = await makeGroup(store, "g", users);
    await send(store, a, -group, "1");
    await using operator = await db.transaction();
    await operator.sql(`${CURSOR} FOR UPDATE`, [b, 0, group]);
    const moved = store.advanceCursors([d, c, b].map((user) => ({ user, peer: -group, seq: 1 })));
    await untilWaiting(db);
    for (const user of [c, d]) await assertFree(operator, CURSOR, [user, 0, group], `${user}'s cursor`);
    await operator.sql("COMMIT");
    await moved;
    for (const user of [b, c, d]) {
      assertEquals(seqs(await store.read(user, -group, undefined, 10, PLENTY)), []);
    }
    // Rows are written in the order of reading. The order of one server's plan is not enough.
    assert(reading.length > 0);
    for (const statement of reading) assert(/ORDER BY userid, low, high/.test(statement), statement);
  } finally {
    await store.close();
  }
});

mariadb.test("mysql locks: I4 does not move back a cursor of another node", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    for (const cid of ["1", "2", "3", "4"]) await send(store, a, b, cid);
    await using other = await db.transaction();
    await other.sql("UPDATE MemberCursor SET seq = 3 WHERE userid = ? AND low = ? AND high = ?", [b, a, b]);
    // Of the cursors that it sees, 2 is higher.
    const moved = store.advanceCursors([{ user: b, peer: a, seq: 2 }]);
    await untilWaiting(db);
    await other.sql("COMMIT");
    await moved;
    assertEquals(seqs(await store.read(b, a, undefined, 10, PLENTY)), [4]);
    await store.advanceCursors([{ user: b, peer: a, seq: 1 }]);
    assertEquals(seqs(await store.read(b, a, undefined, 10, PLENTY)), [4]);
  });
});

/** Milliseconds until the server releases the locks of a silent node, with a margin for a busy machine. */
const MAX_LOCK_MS = 20_000;

mariadb.test("mysql locks: the locks of a frozen node end within seconds", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, b, "1");
    const frozen = await MysqlConnection.open(parseAddress(db.url));
    try {
      const [settings] = await frozen.query(sql`SELECT @@session.wait_timeout AS patience`);
      const patience = settings!.rows[0]!.patience as number; // in seconds
      assertLess(MAX_IDLE_MS, patience * 1_000, "a connection that is still used is not ended");
      assertLessOrEqual(patience, 10);
      await frozen.query(BEGIN, sql`SELECT * FROM Conversation WHERE low = ${a} AND high = ${b} FOR UPDATE`);
      await assertRejects(() => send(store, a, b, "2"));
      const began = performance.now();
      await until(() => send(store, a, b, "2").catch(() => undefined), "the end of the lock", MAX_LOCK_MS);
      assertLess(performance.now() - began, MAX_LOCK_MS);
    } finally {
      frozen.destroy();
    }
  });
});
