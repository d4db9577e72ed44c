/** Opening the database file: whose it is, how it is set up, and the schema where it is new. */
import { DatabaseSync } from "node:sqlite";
import { newId, newKey } from "../new_id.ts";
import schema from "./schema.sql" with { type: "text" };

/** Marks a database file as this program's; "Chat" in ASCII. */
const APPLICATION_ID = 0x43686174;

/** What makes a file of each version, from 1 on, one of the next: what those releases left behind goes on. */
const UPGRADES = [
  `ALTER TABLE Cursor RENAME TO MemberCursor; -- also where the view names it
   ALTER TABLE User ADD COLUMN logins INTEGER NOT NULL DEFAULT 0;`,
  `DROP VIEW OfflineMessage;
   ${["RecentMessage", "AnyMessage", "OfflineMessage"].map(definitionOf).join("\n")}`,
  definitionOf("StoreIdentity"),
];

/** The version of the schema, kept as SQLite's `user_version`. 0 is an empty file's. */
const SCHEMA_VERSION = UPGRADES.length + 1;

/** Milliseconds to wait for an operator's tool that is writing. A batch is tried twice before it is given up. */
const BUSY_TIMEOUT = 1_000;

/** KiB of pages kept in memory. What is settled of a conversation touches pages of the log and its index, far apart. */
const CACHE_SIZE = 32 * 1_024;

/** A database that is gone when it is closed, in place of a file. */
export const IN_MEMORY = ":memory:";

/**
 * Pages of 4 KiB in the write-ahead log before the committing thread copies them into the database by itself: far more
 * than the thread beside it lets gather, see checkpoints.ts.
 */
const CHECKPOINT_AFTER = 16_384;

/** Bytes that the write-ahead log is cut back to after an operator's long look has made it grow. */
const LOG_SIZE_LIMIT = 64 * 1_024 * 1_024;

/**
 * Opens the database in `file` ({@link IN_MEMORY}: none), makes the schema if the file is
 * new or empty, and brings an older one up to date. Throws an Error of one line if it can't be opened or isn't this
 * program's.
 */
export function openDatabase(file: string): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT });
    const version = versionOf(db); // before anything is written to what may be another program's file
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL; -- a commit is on the disk before it counts (invariant I1)
      PRAGMA cache_size = -${CACHE_SIZE}; -- negative: in KiB
      PRAGMA wal_autocheckpoint = ${CHECKPOINT_AFTER};
      PRAGMA journal_size_limit = ${LOG_SIZE_LIMIT};
    `);
    if (version < SCHEMA_VERSION) {
      db.exec(`
        BEGIN IMMEDIATE;
        ${version === 0 ? schema : UPGRADES.slice(version - 1).join("\n")}
        PRAGMA application_id = ${APPLICATION_ID};
        PRAGMA user_version = ${SCHEMA_VERSION};
        COMMIT;
      `);
    }
    settleIdentity(db);
    return db;
  } catch (error) {
    db?.close();
    throw new Error(`cannot open the database ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** The version of the file's schema, 0 if there is nothing in it yet. Throws if what is there isn't ours to use. */
export function versionOf(db: DatabaseSync): number {
  const { application_id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
  const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  const { objects } = db.prepare("SELECT count(*) AS objects FROM sqlite_schema").get() as {
    objects: number;
  };
  if (application_id === APPLICATION_ID) {
    if (user_version >= 1 && user_version <= SCHEMA_VERSION) return user_version;
    throw new Error(
      `its schema has version ${user_version}, this program knows ${SCHEMA_VERSION}; use the program's newer release`,
    );
  }
  if (application_id !== 0 || user_version !== 0 || objects !== 0) {
    throw new Error("it is another program's database");
  }
  return 0;
}

/**
 * Gives a store its identity if it has none, and lifts the counters of ids above every id that a row refers to: an
 * operator may have deleted the row with the highest id, or loaded a part of a dump, and ids are never reused.
 */
function settleIdentity(db: DatabaseSync): void {
  const { users } = db.prepare(
    `SELECT max(
       (SELECT ifnull(max(userid), 0) FROM Friend), (SELECT ifnull(max(friendid), 0) FROM Friend),
       (SELECT ifnull(max(userid), 0) FROM GroupUser), (SELECT ifnull(max(userid), 0) FROM MemberCursor),
       (SELECT ifnull(max(sender), 0) FROM Message), (SELECT ifnull(max(sender), 0) FROM RecentMessage),
       (SELECT ifnull(max(userid), 0) FROM Session)
     ) AS users`,
  ).get() as { users: number };
  const { groups } = db.prepare(
    `SELECT max(
       (SELECT ifnull(max(groupid), 0) FROM GroupUser),
       (SELECT ifnull(max(high), 0) FROM Conversation WHERE low = 0)
     ) AS groups`,
  ).get() as { groups: number };
  const identity = db.prepare(
    "INSERT OR IGNORE INTO StoreIdentity (id, deployment, epoch) VALUES (1, ?, ?)",
  );
  if (!db.prepare("SELECT 1 FROM StoreIdentity").get()) identity.run(newId(), newId());
  settleClusterKey(db);
  for (const [table, id] of [["User", users], ["AllGroup", groups]] as const) {
    const counter = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = ?").get(table) as
      | { seq: number }
      | undefined;
    if (id <= (counter?.seq ?? 0)) continue;
    if (counter) db.prepare("UPDATE sqlite_sequence SET seq = ? WHERE name = ?").run(id, table);
    else db.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)").run(table, id);
  }
}

/** Gives a store its key if it has none. A file of a release before keys gets the table without becoming a newer one's. */
function settleClusterKey(db: DatabaseSync): void {
  if (!db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'ClusterKey'").get()) {
    db.exec(definitionOf("ClusterKey"));
  }
  if (db.prepare("SELECT 1 FROM ClusterKey").get()) return;
  db.prepare("INSERT INTO ClusterKey (id, secret) VALUES (1, ?)").run(newKey());
}

/** What the schema says of a table or view. */
function definitionOf(name: string): string {
  const [statement] = new RegExp(`^CREATE (TABLE|VIEW) ${name} [^;]*;`, "m").exec(schema)!;
  return statement;
}
