/** Opens and closes the database file: checks, settings, schema and upgrades. */
import { DatabaseSync } from "node:sqlite";
import { newClusterKey, newId } from "../../new_id.ts";
import { type FileHeader, readHeader } from "./file_header.ts";
import schema from "./schema.sql" with { type: "text" };

/** Marks a database file as this program's; "Chat" in ASCII. */
const APPLICATION_ID = 0x43686174;

/** The statements that upgrade a file from each version, 1 and up, to the next one. */
const UPGRADES = [
  `ALTER TABLE Cursor RENAME TO MemberCursor; -- also in the view
   ALTER TABLE User ADD COLUMN logins INTEGER NOT NULL DEFAULT 0;`,
  `DROP VIEW OfflineMessage;
   ${["RecentMessage", "AnyMessage", "OfflineMessage"].map(definitionOf).join("\n")}`,
  definitionOf("StoreIdentity"),
];

/** The version of the schema, which SQLite stores as `user_version`. An empty file has version 0. */
const SCHEMA_VERSION = UPGRADES.length + 1;

/** Wait for the lock of an operator's tool that writes. A batch is tried twice, and fails after 2 s. */
const BUSY_TIMEOUT_MS = 1_000;

/** Size of the page cache: compaction touches pages all over the table `Message` and its index. */
const CACHE_SIZE_KIB = 32 * 1_024;

/** The name of a database in memory, which exists until it is closed. */
export const IN_MEMORY = ":memory:";

/**
 * Size of the write-ahead log, in pages of 4 KiB, at which the database thread makes a checkpoint itself. The
 * checkpoint thread restarts the log far earlier; see checkpoints.ts.
 */
const AUTOCHECKPOINT_PAGES = 16_384;

/**
 * Size to which SQLite truncates the write-ahead log after an operator's long transaction has made it grow.
 */
const MAX_LOG_BYTES = 64 * 1_024 * 1_024;

/**
 * Opens the database in `file`, or {@link IN_MEMORY}. Creates the schema in a new or empty file, and upgrades
 * an older one. Throws an Error of one line if the file cannot be opened or is not a database of this
 * program. `verify` is called before the file is read or written, and throws if it is the wrong file.
 */
export function openDatabase(file: string, verify?: () => void): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    const { size, expected } = file === IN_MEMORY ? EMPTY_HEADER : headerOf(file);
    db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    verify?.();
    const version = versionOf(db); // before any write: the file may be another program's
    if (version === 0) {
      if (size > 0) throw new Error(NO_TABLES_MESSAGE);
      createSchema(db);
    }
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL; -- a commit is on the disk before its acknowledgement (invariant I1)
      PRAGMA cache_size = -${CACHE_SIZE_KIB}; -- negative: in KiB
      PRAGMA wal_autocheckpoint = ${AUTOCHECKPOINT_PAGES};
      PRAGMA journal_size_limit = ${MAX_LOG_BYTES};
    `);
    if (size < expected) requireAllPages(db); // before a statement needs a missing page
    if (version > 0 && version < SCHEMA_VERSION) upgrade(db, version);
    ensureIdentity(db);
    // Copies the log, so that the file alone is as complete as possible.
    db.exec("PRAGMA wal_checkpoint(PASSIVE)");
    return db;
  } catch (error) {
    db?.close();
    throw new Error(`Cannot open the database ${file}: ${oneLine(error)}`, { cause: error });
  }
}

/** The reason for refusing a file that was in use and whose tables are in its missing write-ahead log. */
export const NO_TABLES_MESSAGE =
  "it has no tables: if a server used it, put its -wal beside it; otherwise remove it to start anew";

/** Returns the first line of an error's message, without the SQL text that SQLite's errors contain. */
export function oneLine(error: unknown): string {
  const { message } = error as Error;
  return message.replace(/ in \s[\s\S]* at offset \d+$/, "").split("\n")[0]!;
}

/** Creates the schema before there is a write-ahead log, so that the file itself always has the tables. */
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
      `its schema is not that of version ${version}, its user_version: ${oneLine(error)}`,
      { cause: error },
    );
  }
}

/** Throws if pages are missing in the file and in its log. */
function requireAllPages(db: DatabaseSync): void {
  const { quick_check: result } = db.prepare("PRAGMA quick_check(1)").get() as { quick_check: string };
  if (result !== "ok") throw new Error("it is truncated: put the complete file back, or restore a backup");
}

const EMPTY_HEADER: FileHeader = { size: 0, expected: 0, changes: undefined, usesWal: false };

/**
 * Reads a file's header. Call it before SQLite opens the file: closing a descriptor releases SQLite's locks.
 */
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
 * Closes a database so that the file alone is complete, and its header says so. While another program reads,
 * the log remains, and the last program to close the database copies it.
 */
export function closeDatabase(db: DatabaseSync): void {
  try {
    db.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE");
  } catch {
    // Another program is reading.
  }
  db.close();
}

/** Returns a file's schema version; 0 if it is empty. Throws if it is newer, or not this program's. */
export function versionOf(db: DatabaseSync): number {
  const { application_id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
  const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  const { objects } = db.prepare("SELECT count(*) AS objects FROM sqlite_schema").get() as {
    objects: number;
  };
  if (application_id === APPLICATION_ID) {
    if (user_version >= 1 && user_version <= SCHEMA_VERSION) return user_version;
    throw new Error(
      `its schema version is ${user_version}, and this release supports 1 to ${SCHEMA_VERSION}: ` +
        `use a newer release`,
    );
  }
  if (application_id !== 0 || user_version !== 0 || objects !== 0) {
    throw new Error("it is another program's database");
  }
  return 0;
}

/**
 * Creates the store's identity if it has none, and raises the id counters above every id that a row refers
 * to. Ids are never reused, even after an operator deleted the row with the highest id or loaded a part of a
 * dump.
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

/** Creates the cluster key if there is none. Older files get its table without a change of their version. */
function ensureClusterKey(db: DatabaseSync): void {
  if (!db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'ClusterKey'").get()) {
    db.exec(definitionOf("ClusterKey"));
  }
  if (db.prepare("SELECT 1 FROM ClusterKey").get()) return;
  db.prepare("INSERT INTO ClusterKey (id, secret) VALUES (1, ?)").run(newClusterKey());
}

/** Returns the schema's statement that creates a table or view. */
function definitionOf(name: string): string {
  const [statement] = new RegExp(`^CREATE (TABLE|VIEW) ${name} [^;]*;`, "m").exec(schema)!;
  return statement;
}
