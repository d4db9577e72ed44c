/** Migrates a database to the server's schema at the start. */
import { createHash } from "node:crypto";
import { type Connection, type ConnectionOptions, createConnection } from "mysql2/promise";
import { applyPlan, type MigrationLog } from "./apply_plan.ts";
import { inspectSchema } from "./current_schema.ts";
import { GRANTS } from "./grants.ts";
import { makePlan } from "./plan.ts";
import { type Db, errnoOf, queryRows, quoteName } from "./sql.ts";

/** The version of the schema in schema.sql. */
export const SCHEMA_VERSION = 1;

/** The options of a connection. The database may not exist yet. */
export type SchemaConnection = ConnectionOptions & { readonly database: string };

export type { MigrationLog };

/** The changes that a migration would make. */
export interface UpgradeCheck {
  /** The changes, one line each. Empty if the schema is current. */
  readonly changes: readonly string[];
  /** The reasons that prevent the migration, one line each. */
  readonly blockers: readonly string[];
}

/** Seconds after which a node logs that it waits for another node. It continues to wait. */
const LOCK_WAIT_SECONDS = 10;

/** Seconds to wait for another program that uses a table: a longer wait would block all nodes. */
const TABLE_LOCK_WAIT_SECONDS = 60;

/** Seconds after which the database releases the lock of a node whose machine has failed. */
const WAIT_TIMEOUT_SECONDS = 600;

/** Characters in the name of a lock. */
const MAX_LOCK_NAME_LENGTH = 64;

const SETTINGS = [
  // Strict: no value is truncated. Zero dates are left to the operator.
  "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
  `lock_wait_timeout = ${TABLE_LOCK_WAIT_SECONDS}`,
  `wait_timeout = ${WAIT_TIMEOUT_SECONDS}`,
];

/** Error numbers of the database, from its protocol. */
const ACCESS_DENIED_TO_DATABASE = 1044;
const NO_SUCH_DATABASE = 1049;
const NO_DATABASE = 1046;
const NO_SUCH_COLUMN = 1054;
const NO_SUCH_TABLE = 1146;

/**
 * Creates the server's schema, or migrates the tables of a C++ server. Of many nodes that start at once, one
 * migrates and the others wait. A migration can be interrupted and continued. Rejects with an Error of one
 * line without the password.
 */
export async function migrate(options: SchemaConnection, log: MigrationLog): Promise<void> {
  const db = await connect(options, true);
  try {
    if (await isCurrent(db)) return;
    await acquireLock(db, options.database, log);
    if (await isCurrent(db)) return;
    const plan = await makePlan(
      db,
      await inspectSchema(db),
      (rows, reasons) => log.warn("offline messages not moved", { count: rows, reasons }),
    );
    if (plan.blockers.length > 0) {
      throw new Error(`the database cannot be migrated: ${plan.blockers.join("; ")}`);
    }
    await applyPlan(db, plan, log);
  } finally {
    await close(db);
  }
}

/** Returns the changes that {@link migrate} would make, and makes none. Rejects as it does. */
export async function checkUpgrade(options: SchemaConnection): Promise<UpgradeCheck> {
  const db = await connect(options, false);
  try {
    if (await isCurrent(db)) return { changes: [], blockers: [] };
    const [row] = await queryRows<{ name: string | null }>(db, "SELECT DATABASE() AS name");
    const { before, transaction, after, blockers } = await makePlan(db, await inspectSchema(db), () => {});
    const changes = [...before, ...transaction, ...after].map(({ description }) => description);
    if (row!.name === null) changes.unshift(`create the database ${options.database}`);
    return { changes, blockers };
  } finally {
    await close(db);
  }
}

/**
 * Connects to the database. If it does not exist, creates it, or connects without a database if `create` is
 * false.
 */
async function connect(options: SchemaConnection, create: boolean): Promise<Connection> {
  let db: Connection;
  try {
    db = await createConnection(withRequiredOptions(options));
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === ACCESS_DENIED_TO_DATABASE) throw new Error(accessDeniedText(options.database, error));
    if (errno !== NO_SUCH_DATABASE) throw error;
    const { database: _, ...server } = options;
    db = await createConnection(withRequiredOptions(server));
  }
  try {
    // First of all: some servers interpret text in another character set by default, with quotes as parts of
    // letters.
    await db.query("SET NAMES utf8mb4 COLLATE utf8mb4_bin");
    await db.query(`SET ${SETTINGS.map((setting) => `SESSION ${setting}`).join(", ")}`);
    if (create) await useDatabase(db, options.database);
    return db;
  } catch (error) {
    await close(db);
    throw error;
  }
}

/** Adds the options that the statements of this folder require. */
function withRequiredOptions(options: ConnectionOptions): ConnectionOptions {
  return {
    ...options,
    charset: "utf8mb4_bin",
    multipleStatements: false,
    jsonStrings: true,
    dateStrings: true,
  };
}

async function useDatabase(db: Connection, name: string): Promise<void> {
  const [row] = await queryRows<{ name: string | null }>(db, "SELECT DATABASE() AS name");
  if (row!.name !== null) return;
  try {
    await db.query(
      `CREATE DATABASE IF NOT EXISTS ${quoteName(name)} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    );
  } catch (error) {
    throw new Error(`there is no database ${name}, and it cannot be created: ${(error as Error).message}`);
  }
  await db.query(`USE ${quoteName(name)}`);
}

function accessDeniedText(database: string, error: unknown): string {
  return `${(error as Error).message}; an administrator can grant the rights: ` +
    `GRANT ${GRANTS} ON ${quoteName(database)}.* TO that user`;
}

/** Returns whether the schema has the current version. Rejects if its version is newer. */
async function isCurrent(db: Db): Promise<boolean> {
  const version = await versionOf(db);
  if (version <= SCHEMA_VERSION) return version === SCHEMA_VERSION;
  throw new Error(
    `its schema has version ${version}, and this program supports ${SCHEMA_VERSION} only: ` +
      "use a newer release of the program",
  );
}

/**
 * Returns the version of the schema, or 0 without a recorded version: the database is empty, incomplete, or
 * another server's.
 */
async function versionOf(db: Db): Promise<number> {
  try {
    const [row] = await queryRows<{ version: number | null }>(
      db,
      "SELECT MAX(version) AS version FROM SchemaVersion",
    );
    return row!.version ?? 0;
  } catch (error) {
    if ([NO_SUCH_TABLE, NO_SUCH_COLUMN, NO_DATABASE].includes(errnoOf(error) ?? 0)) return 0;
    throw error;
  }
}

/** Waits until no other node migrates. The lock ends with the connection at the latest. */
async function acquireLock(db: Db, database: string, log: MigrationLog): Promise<void> {
  const plain = `chat schema of ${database}`;
  const name = plain.length <= MAX_LOCK_NAME_LENGTH
    ? plain
    : `chat schema ${createHash("sha1").update(database).digest("hex")}`;
  for (;;) {
    const [row] = await queryRows<{ got: number | null }>(db, "SELECT GET_LOCK(?, ?) AS got", [
      name,
      LOCK_WAIT_SECONDS,
    ]);
    if (row!.got === 1) return;
    if (row!.got === null) throw new Error("the database refused the lock of the migration");
    log.info("waiting for another node that migrates the database", { database });
  }
}

async function close(db: Connection): Promise<void> {
  try {
    await db.end();
  } catch {
    db.destroy(); // the connection was lost before
  }
}
