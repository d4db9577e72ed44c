/** The migration of a C++ server's database: accounts, friends and groups, in any tables. */
import { createHash } from "node:crypto";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createConnection } from "mysql2/promise";
import { applyPlan } from "../../lib/store/mysql/schema/apply_plan.ts";
import { inspectSchema } from "../../lib/store/mysql/schema/current_schema.ts";
import { makePlan } from "../../lib/store/mysql/schema/plan.ts";
import { checkUpgrade, migrate } from "../../lib/store/mysql/schema/migrate.ts";
import { sharedMariadb, startMariadb, type TestDatabase } from "../harness/mariadb.ts";
import {
  CLASSIC,
  connectionTo,
  FAST_OPTIONS,
  fingerprint,
  groupChat,
  missed,
  oneChat,
  RecordedLog,
  ROWS,
  run,
  tables,
  tablesOf,
} from "./mysql_databases.ts";

const shared = sharedMariadb({ args: FAST_OPTIONS });

/** A small database that needs all kinds of changes: moves, merges, defaults and renames. */
const LIVED_IN = [
  ...CLASSIC,
  "INSERT INTO user VALUES (1, 'u1', 'one', 'online'), (2, 'w2', 'two', NULL), (3, 'ü', '', 'offline')",
  "INSERT INTO friend VALUES (1, 2), (1, 2), (2, 1), (1, 3), (1, 2)",
  "INSERT INTO allgroup VALUES (1, 'g', 'first'), (2, 'g', NULL), (3, 'G', 'third')",
  "INSERT INTO groupuser VALUES (1, 1, 'normal'), (1, 2, NULL), (1, 1, 'creator'), (3, 3, 'creator'), (2, 1, 'normal')",
  `INSERT INTO offlinemessage VALUES
    (2, '${oneChat(1, 2, "hello")}'), (2, 'not JSON'), (1, '${groupChat(2, 1, "to all")}'),
    (2, '${oneChat(1, 2, "again")}')`,
];

/** Asserts the result of migrating {@link LIVED_IN}. */
async function assertTakenOver(db: TestDatabase): Promise<void> {
  assertEquals(await db.sql("SELECT id, name, password, state, logins FROM User ORDER BY id"), [
    { id: 1, name: "u1", password: "$plain$one", state: "online", logins: 0 },
    { id: 2, name: "w2", password: "$plain$two", state: "offline", logins: 0 },
    { id: 3, name: "ü", password: "$plain$", state: "offline", logins: 0 },
  ]);
  assertEquals(await db.sql("SELECT userid, friendid FROM Friend ORDER BY userid, friendid"), [
    { userid: 1, friendid: 2 },
    { userid: 1, friendid: 3 },
    { userid: 2, friendid: 1 },
  ]);
  assertEquals(await db.sql("SELECT id, groupname, groupdesc, members FROM AllGroup ORDER BY id"), [
    { id: 1, groupname: "g", groupdesc: "first", members: 2 },
    { id: 2, groupname: "g (2)", groupdesc: "", members: 1 },
    { id: 3, groupname: "G", groupdesc: "third", members: 1 },
  ]);
  assertEquals(await db.sql("SELECT groupid, userid, grouprole FROM GroupUser ORDER BY groupid, userid"), [
    { groupid: 1, userid: 1, grouprole: "creator" },
    { groupid: 1, userid: 2, grouprole: "normal" },
    { groupid: 2, userid: 1, grouprole: "normal" },
    { groupid: 3, userid: 3, grouprole: "creator" },
  ]);
  assertEquals(await db.sql("SELECT low, high, last_seq FROM Conversation ORDER BY low, high"), [
    { low: 0, high: 1, last_seq: 1 },
    { low: 0, high: 2, last_seq: 0 },
    { low: 0, high: 3, last_seq: 0 },
    { low: 1, high: 2, last_seq: 2 },
  ]);
  assertEquals(await db.sql("SELECT userid, low, high, seq FROM MemberCursor ORDER BY userid, low, high"), [
    { userid: 1, low: 0, high: 1, seq: 0 },
    { userid: 1, low: 0, high: 2, seq: 0 },
    { userid: 1, low: 1, high: 2, seq: 2 },
    { userid: 2, low: 0, high: 1, seq: 1 },
    { userid: 2, low: 1, high: 2, seq: 0 },
    { userid: 3, low: 0, high: 3, seq: 0 },
  ]);
  const lost = await missed(db);
  assertEquals(lost.get(1)?.map(({ body }) => body), ["to all"]);
  assertEquals(lost.get(2)?.map(({ body }) => body), ["hello", "again"]);
  assertEquals(await db.sql("SELECT userid, message FROM OldOfflineMessage"), [{
    userid: 2,
    message: "not JSON",
  }]);
  assertEquals(await db.sql("SELECT version FROM SchemaVersion"), [{ version: 1 }]);
}

shared.test("mysql upgrade: --upgrade-check lists the steps, and changes nothing", async (db) => {
  await run(db, ...LIVED_IN);
  const before = await fingerprint(db);
  const { changes, blockers } = await checkUpgrade(connectionTo(db));
  assertEquals(await fingerprint(db), before);
  assertEquals(blockers, []);
  for (
    const part of [
      "rename the table user to User",
      "remove 2 rows of Friend, which are duplicates",
      'append " (id)" to the groupname in 1 row of AllGroup',
      "remove 1 row of GroupUser, which are duplicates (the creator's stays)",
      "mark 3 passwords",
      "move 3 rows of offlinemessage into the log; leave 1 in OldOfflineMessage: not JSON (1)",
      "create the view OfflineMessage",
      "count each group's members",
      "record the version of the schema",
    ]
  ) assert(changes.some((line) => line.includes(part)), `${part} in:\n${changes.join("\n")}`);
  assert(changes.every((line) => !line.includes("\n")), "each is one line");
  const log = new RecordedLog();
  await migrate(connectionTo(db), log);
  assertEquals(log.steps, changes);
  assertEquals(log.warnings, [{ count: 1, reasons: "not JSON (1)" }]);
  await assertTakenOver(db);
});

shared.test("mysql upgrade: makes the tables equal to those of a new database", async (db) => {
  await run(db, ...CLASSIC);
  await migrate(connectionTo(db), new RecordedLog());
  await using made = await shared.fresh();
  await migrate(connectionTo(made), new RecordedLog());
  assertEquals(await tablesOf(db), await tablesOf(made));
});

shared.test("mysql upgrade: has the same result after an interruption at any statement", async () => {
  let cuts = 0;
  for (let whole = false; !whole; cuts++) {
    await using db = await shared.fresh();
    await run(db, ...LIVED_IN);
    whole = await upgradeUntil(db, cuts);
    await migrate(connectionTo(db), new RecordedLog());
    await assertTakenOver(db).catch((error) => {
      throw new Error(`cut off after ${cuts} statements: ${error.message}`, { cause: error });
    });
  }
  assert(cuts > 30, `${cuts} statements were cut off after`);
});

/**
 * Applies a plan on a connection that breaks after some statements. Returns whether the plan was completed.
 */
async function upgradeUntil(db: TestDatabase, statements: number): Promise<boolean> {
  const connection = await createConnection({ ...connectionTo(db), charset: "utf8mb4_bin" });
  let done = 0;
  const cut = {
    query: async (sql: string, values?: unknown[]) => {
      if (done++ >= statements) throw new Error("lost");
      return await connection.query(sql, values);
    },
  } as Pick<typeof connection, "query">;
  try {
    await applyPlan(
      cut,
      await makePlan(connection, await inspectSchema(connection), () => {}),
      new RecordedLog(),
    );
  } catch (error) {
    if (done <= statements) throw error;
  } finally {
    connection.destroy();
  }
  return done <= statements;
}

const digest = (algorithm: string) => createHash(algorithm).update("x").digest();

/** The password `x` as other programs store it. MySQL 9 has no functions for most of them. */
const HASHES: readonly string[] = [
  digest("md5").toString("hex"),
  digest("sha1").toString("hex").toUpperCase(),
  digest("sha256").toString("hex"),
  digest("sha512").toString("hex"),
  "*B69027D44F6E5EDC07F1AEAD1477967B16F28227", // PASSWORD('x')
  "$2b$12$abcdefg",
  "606706156665cd86", // OLD_PASSWORD('x')
  digest("md5").toString("hex").slice(8, 24),
  ...["md5", "sha1", "sha224", "sha256", "sha512"].map((name) => digest(name).toString("base64")),
];

/** Problems that only an operator can solve: the text of the blocker, and the statements that cause it. */
const BLOCKERS: readonly (readonly [text: string, statements: readonly string[]])[] = [
  ["there are tables User and user: rename", ["CREATE TABLE user (id INT)"]],
  ["1 row of User: id is not from 1 to 2147483647", [
    "INSERT INTO User (id, name, password) VALUES (-1, 'x', 'x')",
  ]],
  ["2 rows of AllGroup: id is not from 1 to 2147483647", [
    "ALTER TABLE AllGroup MODIFY id BIGINT",
    "INSERT INTO AllGroup (id, groupname) VALUES (2147483648, 'x'), (-5, 'y')",
  ]],
  ["1 row of Friend: friendid does not fit into 32 bits", [
    "ALTER TABLE Friend MODIFY friendid BIGINT",
    "INSERT INTO Friend VALUES (5, 4294967296)",
  ]],
  ["1 row of Friend: userid is NULL", ["INSERT INTO Friend VALUES (NULL, 7)"]],
  ["1 row of User: name is longer than 50 characters", [
    "ALTER TABLE User MODIFY name VARCHAR(99)",
    "UPDATE User SET name = REPEAT('ä', 51) WHERE id = 5",
  ]],
  ["1 row of User with the id of another row", [
    "ALTER TABLE User MODIFY id INT NOT NULL, DROP PRIMARY KEY",
    "INSERT INTO User (id, name, password) VALUES (5, 'x', 'x')",
  ]],
  ["1 row of GroupUser: grouprole is none of ('creator','normal')", [
    "ALTER TABLE GroupUser MODIFY grouprole ENUM('creator','admin','normal')",
    "UPDATE GroupUser SET grouprole = 'admin' WHERE groupid = 4",
  ]],
  ["MODIFY `email` varchar(99) NULL", ["ALTER TABLE User ADD COLUMN email VARCHAR(99) NOT NULL"]],
  ["it has no column password", ["ALTER TABLE User DROP COLUMN password"]],
  ["it has no column message", ["ALTER TABLE OfflineMessage DROP COLUMN message"]],
  ["password is longer than 248 characters", [
    "ALTER TABLE User MODIFY password VARCHAR(255)",
    "UPDATE User SET password = REPEAT('x', 249)",
  ]],
  ["there are tables OfflineMessage and OldOfflineMessage", [
    "CREATE TABLE OldOfflineMessage (userid INT, message TEXT)",
  ]],
  ["1 row of GroupUser: of a group or user that does not exist; DELETE FROM `GroupUser` WHERE", [
    "INSERT INTO GroupUser VALUES (9, 7, 'normal')",
  ]],
  ["2 rows of GroupUser: of a group or user that does not exist", [
    "INSERT INTO GroupUser VALUES (3, 6, 'normal'), (8, 6, 'normal')",
  ]],
  ["3 rows of GroupUser: of a group or user that does not exist", ["DROP TABLE AllGroup"]],
  ["1 row of Friend: of a user that does not exist; DELETE FROM `Friend` WHERE", [
    "INSERT INTO Friend VALUES (5, 6)",
  ]],
  [
    "the table Groups (2 rows) seems to be AllGroup under another name: if it is, RENAME TABLE `Groups` TO `AllGroup`",
    [
      "RENAME TABLE AllGroup TO `Groups`",
    ],
  ],
  ...["users", "t_user", "UserInfo", "chat_users"].map((name) =>
    [`the table ${name} (2 rows) seems to be User under another name`, [
      `RENAME TABLE User TO ${name}`,
    ]] as const
  ),
  ["the table group_members (3 rows) seems to be GroupUser under another name", [
    "RENAME TABLE GroupUser TO group_members",
  ]],
  ["the table Friends (2 rows) seems to be Friend under another name", ["RENAME TABLE Friend TO Friends"]],
  ["the table offline_msg (2 rows) seems to be OfflineMessage under another name", [
    "RENAME TABLE OfflineMessage TO offline_msg",
  ]],
  ...["users", "t_user", "UserInfo"].map((name) =>
    [`the table ${name} (1 row) seems to be User under another name, and there is User as well`, [
      `CREATE TABLE ${name} (id INT)`,
      `INSERT INTO ${name} VALUES (1)`,
    ]] as const
  ),
  ["the table Groups (1 row) seems to be AllGroup under another name, and there is AllGroup as well", [
    "CREATE TABLE `Groups` (id INT)",
    "INSERT INTO `Groups` VALUES (1)",
  ]],
  ["the table friends (1 row) seems to be Friend under another name, and there is Friend as well", [
    "CREATE TABLE friends (id INT)",
    "INSERT INTO friends VALUES (1)",
  ]],
  ...HASHES.map((hash) =>
    [`1 row of User: password looks like a hash, which would log in by itself; give these users new`, [
      "ALTER TABLE User MODIFY password VARCHAR(255)",
      `UPDATE User SET password = '${hash}' WHERE id = 5`,
    ]] as const
  ),
];

shared.test("mysql upgrade: accepts hex digits as a marked password", async (db) => {
  const hex = "0123456789abcdef".repeat(2);
  await run(
    db,
    ...tables(""),
    ...ROWS,
    `UPDATE User SET password = CONCAT('$plain$', '${hex}') WHERE id = 5`,
    `UPDATE User SET password = '${hex.slice(1)}' WHERE id = 7`,
  );
  await migrate(connectionTo(db), new RecordedLog());
  assertEquals(await db.sql("SELECT password FROM User ORDER BY id"), [
    { password: `$plain$${hex}` },
    { password: `$plain$${hex.slice(1)}` },
  ]);
});

shared.test("mysql upgrade: leaves hashes of the server's own forms as they are", async (db) => {
  const [argon2id, scrypt] = [
    "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$a2V5",
    "$scrypt$ln=15,r=8,p=3$c2FsdA$a2V5",
  ];
  await run(
    db,
    ...tables(""),
    ...ROWS,
    "ALTER TABLE User MODIFY password VARCHAR(255)",
    `UPDATE User SET password = '${argon2id}' WHERE id = 5`,
    `UPDATE User SET password = '${scrypt}' WHERE id = 7`,
  );
  await migrate(connectionTo(db), new RecordedLog());
  assertEquals(await db.sql("SELECT password FROM User ORDER BY id"), [
    { password: argon2id },
    { password: scrypt },
  ]);
});

shared.test("mysql upgrade: opens the server's own database with rows that refer to nothing", async (db) => {
  await migrate(connectionTo(db), new RecordedLog());
  await run(db, "INSERT INTO GroupUser (groupid, userid) VALUES (9, 9)", "CREATE TABLE users (id INT)");
  await migrate(connectionTo(db), new RecordedLog());
  assertEquals(await checkUpgrade(connectionTo(db)), { changes: [], blockers: [] });
});

shared.test("mysql upgrade: ignores an empty table of another name beside a proper one", async (db) => {
  await run(db, ...tables(""), ...ROWS, "CREATE TABLE users (id INT)");
  assertEquals((await checkUpgrade(connectionTo(db))).blockers, []);
});

shared.test("mysql upgrade: ignores views with other names of tables", async (db) => {
  await run(db, "CREATE TABLE People (id INT)", "CREATE VIEW users AS SELECT id FROM People");
  assertEquals((await checkUpgrade(connectionTo(db))).blockers, []);
});

for (const [text, statements] of BLOCKERS) {
  shared.test(`mysql upgrade: rejected with "${text}", and nothing is changed`, async (db) => {
    await run(db, ...tables(""), ...ROWS, ...statements);
    const before = await fingerprint(db);
    const { blockers } = await checkUpgrade(connectionTo(db));
    assertEquals(blockers.length, 1, blockers.join("; "));
    assert(blockers[0]!.includes(text), blockers[0]);
    const error = await assertRejects(() => migrate(connectionTo(db), new RecordedLog()), Error, text);
    assert(!error.message.includes("\n"));
    assertEquals(await fingerprint(db), before);
  });
}

Deno.test("mysql upgrade: works on a server with case-insensitive names of tables", async () => {
  await using server = await startMariadb({ args: ["--lower-case-table-names=1"] });
  await using db = await server.fresh();
  await run(db, ...LIVED_IN);
  await migrate(connectionTo(db), new RecordedLog());
  await assertTakenOver(db);
  const again = new RecordedLog();
  await migrate(connectionTo(db), again);
  assertEquals(again.steps, []);
});
