/** The migration of C++ servers' databases, which differ in engines, character sets, keys and types. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { checkUpgrade, migrate } from "../../lib/store/mysql/schema/migrate.ts";
import { database } from "../harness/database_program.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import {
  connectionTo,
  FAST_OPTIONS,
  missed,
  PLAIN_COLUMNS,
  RecordedLog,
  ROWS,
  run,
  tables,
  tablesOf,
} from "./mysql_databases.ts";

const shared = sharedMariadb({ args: FAST_OPTIONS });

/** A collation in which `a` and `A` are one name, and `a` and `a ` are two. */
const NO_PAD = database.name === "mysqld" ? "utf8mb4_0900_ai_ci" : "utf8mb4_general_nopad_ci";

/** A kind of database to migrate, with rows that all kinds share. */
interface Kind {
  readonly name: string;
  readonly tables: readonly string[];
}

const KINDS: readonly Kind[] = [
  { name: "InnoDB and utf8mb4", tables: tables("ENGINE = InnoDB DEFAULT CHARSET = utf8mb4") },
  { name: "MyISAM and utf8", tables: tables("ENGINE = MyISAM ROW_FORMAT = FIXED DEFAULT CHARSET = utf8mb3") },
  { name: "MyISAM and latin1", tables: tables("ENGINE = MyISAM DEFAULT CHARSET = latin1") },
  { name: "InnoDB and gbk", tables: tables("ENGINE = InnoDB DEFAULT CHARSET = gbk") },
  {
    name: "foreign keys",
    tables: tables("ENGINE = InnoDB", {
      Friend: "userid INT, friendid INT, PRIMARY KEY (userid, friendid), " +
        "FOREIGN KEY (userid) REFERENCES User(id), FOREIGN KEY (friendid) REFERENCES User(id) ON DELETE CASCADE",
      GroupUser: "groupid INT, userid INT, grouprole ENUM('creator','normal'), KEY (groupid), " +
        "FOREIGN KEY (groupid) REFERENCES AllGroup(id), CONSTRAINT `a b` FOREIGN KEY (userid) REFERENCES User(id)",
      OfflineMessage: "userid INT, message VARCHAR(500), FOREIGN KEY (userid) REFERENCES User(id)",
    }),
  },
  {
    name: "unsigned ids and long texts",
    tables: tables("", {
      User: "id INT UNSIGNED PRIMARY KEY AUTO_INCREMENT, name TEXT, password TEXT, state VARCHAR(20)",
      Friend: "userid BIGINT UNSIGNED, friendid BIGINT UNSIGNED",
      AllGroup: "id BIGINT PRIMARY KEY AUTO_INCREMENT, groupname VARCHAR(255), groupdesc TEXT",
      GroupUser: "groupid INT UNSIGNED, userid INT UNSIGNED, grouprole VARCHAR(10)",
      OfflineMessage: "userid INT UNSIGNED, message LONGTEXT",
    }),
  },
  {
    name: "column names in other case, and no keys",
    tables: tables("", {
      User: "ID INT, Name VARCHAR(50), Password VARCHAR(50), State ENUM('online','offline')",
      Friend: "UserId INT, FriendId INT",
      AllGroup: "Id INT, GroupName VARCHAR(50), GroupDesc VARCHAR(200)",
      GroupUser: "GroupId INT, UserId INT, GroupRole ENUM('creator','normal')",
      OfflineMessage: "UserId INT, Message BLOB",
    }),
  },
  {
    name: "keys of the operator's own, and some that are too narrow",
    tables: tables("", {
      User: "id INT NOT NULL, name VARCHAR(50), password VARCHAR(50), state ENUM('online','offline'), " +
        "PRIMARY KEY (name), UNIQUE KEY ByName (name), UNIQUE KEY (id), KEY ByState (state)",
      Friend:
        "id INT AUTO_INCREMENT PRIMARY KEY, userid INT, friendid INT, UNIQUE KEY (userid, friendid), UNIQUE KEY OneFriend (userid)",
      OfflineMessage: "id INT AUTO_INCREMENT PRIMARY KEY, userid INT, message VARCHAR(500)",
    }),
  },
  {
    name: "columns and tables of the operator's own",
    tables: [
      ...tables("", {
        User:
          `${PLAIN_COLUMNS.User}, email VARCHAR(99) UNIQUE, made TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
          length INT AS (CHAR_LENGTH(name)) STORED`,
        Friend: `${PLAIN_COLUMNS.Friend}, note VARCHAR(20) NOT NULL DEFAULT 'none'`,
      }),
      "CREATE TABLE session (sid INT PRIMARY KEY)",
      "CREATE TABLE profile (userid INT, FOREIGN KEY (userid) REFERENCES User(id))",
    ],
  },
];

for (const { name, tables } of KINDS) {
  shared.test(`mysql upgrade: migrates a database with ${name}`, async (db) => {
    await run(db, ...tables, ...ROWS);
    assertEquals((await checkUpgrade(connectionTo(db))).blockers, []);
    await migrate(connectionTo(db), new RecordedLog());

    assertEquals(await db.sql("SELECT id, name, password, state, logins FROM User ORDER BY id"), [
      { id: 5, name: "a", password: "$plain$pw", state: "online", logins: 0 },
      { id: 7, name: "é b", password: "$plain$p'\\w", state: "offline", logins: 0 },
    ]);
    assertEquals(await db.sql("SELECT userid, friendid FROM Friend ORDER BY userid"), [
      { userid: 5, friendid: 7 },
      { userid: 7, friendid: 5 },
    ]);
    assertEquals(await db.sql("SELECT id, groupname, groupdesc, members FROM AllGroup ORDER BY id"), [
      { id: 3, groupname: "g", groupdesc: "", members: 2 },
      { id: 4, groupname: "h", groupdesc: "about", members: 1 },
    ]);
    assertEquals(await db.sql("SELECT groupid, userid, grouprole FROM GroupUser ORDER BY groupid, userid"), [
      { groupid: 3, userid: 5, grouprole: "creator" },
      { groupid: 3, userid: 7, grouprole: "normal" },
      { groupid: 4, userid: 7, grouprole: "creator" },
    ]);
    const lost = await missed(db);
    assertEquals(lost.get(5)?.map(({ low, high, body }) => [low, high, body]), [[5, 7, "é one"]]);
    assertEquals(lost.get(7)?.map(({ low, high, body }) => [low, high, body]), [[0, 3, "é all"]]);
    assertEquals(await db.sql("SHOW TABLES LIKE 'OldOfflineMessage'"), []);

    await assertUsable(db);
    await assertLikeNew(db);
  });
}

/** Asserts that the server's statements work on the database. */
async function assertUsable(db: TestDatabase): Promise<void> {
  await run(
    db,
    "SET sql_mode = 'STRICT_ALL_TABLES'",
    "INSERT INTO User (name, password) VALUES ('A', 'x'), ('a b', 'x'), ('😀', 'x')",
    "INSERT INTO Friend (userid, friendid) VALUES (5, 8), (5, 9), (8, 7)",
    "INSERT INTO AllGroup (groupname, groupdesc) VALUES ('G', 'about')",
    "INSERT INTO GroupUser (groupid, userid) VALUES (3, 8), (5, 8)",
  );
  assertEquals(await db.sql("SELECT id FROM User WHERE name = '😀'"), [{ id: 10 }]);
  assertEquals(await db.sql("SELECT id FROM AllGroup WHERE groupname = 'G'"), [{ id: 5 }]);
  await assertRejects(
    () => run(db, "INSERT INTO User (name, password) VALUES ('😀', 'x')"),
    Error,
    "Duplicate",
  );
  await assertRejects(() => run(db, "INSERT INTO Friend VALUES (5, 8)"), Error);
}

/** Asserts that the database has all that a new one has. It may also have columns and keys of an operator. */
async function assertLikeNew(db: TestDatabase): Promise<void> {
  await using made = await shared.fresh();
  await migrate(connectionTo(made), new RecordedLog());
  const there = await tablesOf(db);
  for (const [kind, rows] of Object.entries(await tablesOf(made))) {
    const found = new Set(there[kind]!.map((row) => JSON.stringify(row)));
    for (const row of rows) assert(found.has(JSON.stringify(row)), `${kind}: ${JSON.stringify(row)}`);
  }
  assertEquals(
    there.constraints!.filter((row) => row.constraint_type === "FOREIGN KEY" && row.table_name !== "profile"),
    [],
  );
}

shared.test("mysql upgrade: leaves the operator's tables, columns and keys", async (db) => {
  await run(
    db,
    ...tables("", {
      User: `${PLAIN_COLUMNS.User}, email VARCHAR(99) NOT NULL DEFAULT ''`,
      OfflineMessage: `${PLAIN_COLUMNS.OfflineMessage}, kept VARCHAR(20) DEFAULT 'since 2019'`,
    }),
    "CREATE TABLE message (text VARCHAR(20))",
    ...ROWS,
    "UPDATE User SET email = CONCAT(id, '@example.org')",
    "INSERT INTO message VALUES ('mine')",
  );
  await migrate(connectionTo(db), new RecordedLog());
  assertEquals(await db.sql("SELECT id, email FROM User ORDER BY id"), [
    { id: 5, email: "5@example.org" },
    { id: 7, email: "7@example.org" },
  ]);
  assertEquals(await db.sql("SELECT * FROM message"), [{ text: "mine" }]);
  assertEquals([...(await missed(db)).keys()], [5, 7]);
  assertEquals(
    (await db.sql("SELECT * FROM OldOfflineMessage")).map(({ userid, kept }) => [userid, kept]),
    [[5, "since 2019"], [7, "since 2019"]],
    "rows with more in them than a message stay as well",
  );
});

shared.test("mysql upgrade: migrates members with the group as their only key", async (db) => {
  await run(
    db,
    ...tables("", {
      GroupUser: "groupid INT PRIMARY KEY, userid INT, grouprole ENUM('creator','normal')",
      OfflineMessage: "userid INT PRIMARY KEY, message VARCHAR(500)",
    }),
    ...ROWS.filter((row) => !row.includes("GroupUser")),
    "INSERT INTO GroupUser VALUES (3, 7, 'normal'), (4, 7, 'creator')",
  );
  await migrate(connectionTo(db), new RecordedLog());
  assertEquals([...(await missed(db)).keys()], [5, 7]);
  await assertUsable(db);
  await assertLikeNew(db);
});

shared.test("mysql upgrade: makes names distinct that would be equal, and truncates them", async (db) => {
  const long = "x".repeat(50);
  await run(
    db,
    ...tables(`DEFAULT CHARSET = utf8mb4 COLLATE = ${NO_PAD}`, {
      AllGroup: "id INT PRIMARY KEY AUTO_INCREMENT, groupname VARCHAR(50), groupdesc VARCHAR(200)",
    }),
    "INSERT INTO User (id, name, password) VALUES (1, 'a', 'x'), (2, 'a ', 'x'), (3, 'B', 'x')",
    `INSERT INTO AllGroup (id, groupname) VALUES
      (1, '${long}'), (2, '${long}'), (3, 'g'), (4, 'G'), (5, 'g'), (6, 'h'), (7, 'g (5)')`,
  );
  await migrate(connectionTo(db), new RecordedLog());
  assertEquals((await db.sql("SELECT name FROM User ORDER BY id")).map(({ name }) => name), [
    "a",
    "a  (2)",
    "B",
  ]);
  assertEquals(
    (await db.sql("SELECT groupname FROM AllGroup ORDER BY id")).map(({ groupname }) => groupname),
    [
      long,
      `${"x".repeat(46)} (2)`,
      "g",
      "G",
      "g (5)",
      "h",
      "g (5) (7)",
    ],
  );
});
