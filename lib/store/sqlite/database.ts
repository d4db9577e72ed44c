/** Opening the database file: whose it is, how it is set up, and the schema where it is new. */
import { DatabaseSync } from "node:sqlite";
import { newClusterKey, newId } from "../new_id.ts";
import { type FileHeader, readHeader } from "./file_header.ts";
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
const BUSY_TIMEOUT_MS = 1_000;

/** KiB of pages kept in memory. What is settled of a conversation touches pages of the log and its index, far apart. */
const CACHE_SIZE_KIB = 32 * 1_024;

/** A database that is gone when it is closed, in place of a file. */
export const IN_MEMORY = ":memory:";

/**
 * Pages of 4 KiB in the write-ahead log before the committing thread copies them into the database by itself: far more
 * than the thread beside it lets gather, see checkpoints.ts.
 */
const AUTOCHECKPOINT_PAGES = 16_384;

/** Bytes that the write-ahead log is cut back to after an operator's long look has made it grow. */
const MAX_LOG_BYTES = 64 * 1_024 * 1_024;

/**
 * Opens the database in `file` ({@link IN_MEMORY}: none), makes the schema if the file is
 * new or empty, and brings an older one up to date. Throws an Error of one line if it can't be opened or isn't this
 * program's. `verify` is called before the file is read or written, and throws if it isn't the right one.
 */
export function openDatabase(file: string, verify?: () => void): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    const { size, expected } = file === IN_MEMORY ? EMPTY_HEADER : headerOf(file);
    db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    verify?.();
    const version = versionOf(db); // before anything is written to what may be another program's file
    if (version === 0) {
      if (size > 0) throw new Error(NO_TABLES_MESSAGE);
      createSchema(db);
    }
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL; -- a commit is on the disk before it counts (invariant I1)
      PRAGMA cache_size = -${CACHE_SIZE_KIB}; -- negative: in KiB
      PRAGMA wal_autocheckpoint = ${AUTOCHECKPOINT_PAGES};
      PRAGMA journal_size_limit = ${MAX_LOG_BYTES};
    `);
    if (size < expected) requireAllPages(db); // before a statement meets a page that is missing
    if (version > 0 && version < SCHEMA_VERSION) upgrade(db, version);
    ensureIdentity(db);
    // Into the file, so that it alone is the database as far as it can be.
    db.exec("PRAGMA wal_checkpoint(PASSIVE)");
    return db;
  } catch (error) {
    db?.close();
    throw new Error(`cannot open the database ${file}: ${oneLine(error)}`, { cause: error });
  }
}

/** The reason for refusing a file that was in use and whose tables are in its missing write-ahead log. */
export const NO_TABLES_MESSAGE =
  "it has no tables: if a server used it, put its -wal beside it; otherwise remove the file to start with a new one";

/** Gives an error's message without the SQL that SQLite's errors bring along, and of a few words more than one line. */
export function oneLine(error: unknown): string {
  const { message } = error as Error;
  return message.replace(/ in \s[\s\S]* at offset \d+$/, "").split("\n")[0]!;
}

/** Makes the schema in the file itself, before there is a write-ahead log: a young database is never in that alone. */
function createSchema(db: DatabaseSync): void {
  db.exec(`
    PRAGMA synchronous = FULL;
    BEGIN IMMEDIATE;
    ${schema}
    PRAGMA application_id = ${APPLICATION_ID};
    PRAGMA user_version = ${SCHEMA_VERSION};
    COMMIT;
  `);
}

function upgrade(db: DatabaseSync, version: number): void {
  try {
    db.exec(`
      BEGIN IMMEDIATE;
      ${UPGRADES.slice(version - 1).join("\n")}
      PRAGMA user_version = ${SCHEMA_VERSION};
      COMMIT;
    `);
  } catch (error) {
    throw new Error(
      `its schema is not that of version ${version}, which its user_version says: ${oneLine(error)}`,
      { cause: error },
    );
  }
}

/** Throws if pages are missing, in the file and in its log. */
function requireAllPages(db: DatabaseSync): void {
  const { quick_check: found } = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
  if (found !== "ok") throw new Error("it was cut off: pages at its end are missing");
}

const EMPTY_HEADER: FileHeader = { size: 0, expected: 0, changes: undefined, usesWal: false };

/** Before SQLite opens it: a process that closes a file loses SQLite's locks on it. */
function headerOf(file: string): FileHeader {
  try {
    using open = Deno.openSync(file);
    return readHeader(open);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return EMPTY_HEADER;
  }
}

/**
 * Closes a database so that its file alone is all of it, and says so. If another program is reading, the next one to
 * close it does a part of that.
 */
export function closeDatabase(db: DatabaseSync): void {
  try {
    db.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE");
  } catch {
    // Another program is reading.
  }
  db.close();
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
function ensureIdentity(db: DatabaseSync): void {
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
  if (!db.prepare("SELECT 1 FROM StoreIdentity").get()) {
    db.prepare("INSERT INTO StoreIdentity (id, deployment, epoch) VALUES (1, ?, ?)").run(newId(), newId());
  }
  ensureClusterKey(db);
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
function ensureClusterKey(db: DatabaseSync): void {
  if (!db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'ClusterKey'").get()) {
    db.exec(definitionOf("ClusterKey"));
  }
  if (db.prepare("SELECT 1 FROM ClusterKey").get()) return;
  db.prepare("INSERT INTO ClusterKey (id, secret) VALUES (1, ?)").run(newClusterKey());
}

/** What the schema says of a table or view. */
function definitionOf(name: string): string {
  const [statement] = new RegExp(`^CREATE (TABLE|VIEW) ${name} [^;]*;`, "m").exec(schema)!;
  return statement;
}
