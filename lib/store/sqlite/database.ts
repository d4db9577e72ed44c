/** Opening the database file: whose it is, how it is set up, and the schema where it is new. */
import { DatabaseSync } from "node:sqlite";
import schema from "../../../schema.sql" with { type: "text" };

/** Marks a database file as this program's; "Chat" in ASCII. */
const APPLICATION_ID = 0x43686174;

/** The version of the schema, kept as SQLite's `user_version`. */
const SCHEMA_VERSION = 1;

/** Milliseconds to wait for an operator's tool that is writing. A batch is tried twice before it is given up. */
const BUSY_TIMEOUT = 1_000;

/** KiB of pages kept in memory. Each append touches a page of the log and one of its index, far apart. */
const CACHE_SIZE = 32 * 1_024;

/** Pages of 4 KiB in the write-ahead log before they are copied into the database: fewer, larger copies. */
const CHECKPOINT_AFTER = 4_096;

/** Bytes that the write-ahead log is cut back to after an operator's long look has made it grow. */
const LOG_SIZE_LIMIT = 64 * 1_024 * 1_024;

/**
 * Opens the database in `file` (":memory:" for one that is gone when it is closed) and makes the schema if the
 * file is new or empty. Throws an Error of one line if it can't be opened or isn't this program's.
 */
export function openDatabase(file: string): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(file, { timeout: BUSY_TIMEOUT });
    const fresh = isFresh(db); // before anything is written to what may be another program's file
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL; -- a commit is on the disk before it counts (invariant I1)
      PRAGMA cache_size = -${CACHE_SIZE}; -- negative: in KiB
      PRAGMA wal_autocheckpoint = ${CHECKPOINT_AFTER};
      PRAGMA journal_size_limit = ${LOG_SIZE_LIMIT};
    `);
    if (fresh) {
      db.exec(`
        BEGIN IMMEDIATE;
        ${schema}
        PRAGMA application_id = ${APPLICATION_ID};
        PRAGMA user_version = ${SCHEMA_VERSION};
        COMMIT;
      `);
    }
    db.exec("UPDATE User SET state = 'offline' WHERE state <> 'offline'"); // left by a crash
    return db;
  } catch (error) {
    db?.close();
    throw new Error(`cannot open the database ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Whether there is nothing in the file yet. Throws if what is there isn't ours to use. */
function isFresh(db: DatabaseSync): boolean {
  const { application_id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
  const { user_version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  const { objects } = db.prepare("SELECT count(*) AS objects FROM sqlite_schema").get() as {
    objects: number;
  };
  if (application_id === APPLICATION_ID) {
    if (user_version === SCHEMA_VERSION) return false;
    throw new Error(
      `its schema has version ${user_version}, this program knows ${SCHEMA_VERSION}; use the program's newer release`,
    );
  }
  if (application_id !== 0 || user_version !== 0 || objects !== 0) {
    throw new Error("it is another program's database");
  }
  return true;
}
