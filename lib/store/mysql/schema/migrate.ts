/** Bringing a database up to the schema that the server goes by, when it starts. */
import { createHash } from "node:crypto";
import { type Connection, type ConnectionOptions, createConnection } from "mysql2/promise";
import { applyPlan, type MigrationLog } from "./apply_plan.ts";
import { inspectSchema } from "./current_schema.ts";
import { GRANTS } from "./grants.ts";
import { makePlan } from "./plan.ts";
import { type Db, errnoOf, queryRows, quoteName } from "./sql.ts";

/** The version of the schema that is in schema.sql. */
export const SCHEMA_VERSION = 1;

/** How to reach a database, by name; it need not be there. */
export type SchemaConnection = ConnectionOptions & { readonly database: string };

export type { MigrationLog };

/** What would be done to a database. */
export interface UpgradeCheck {
  /** In words, one line each; none if the database is the server's already. */
  readonly changes: readonly string[];
  /** Why the server would refuse to do it, one line each. */
  readonly blockers: readonly string[];
}

/** Seconds after which a node that waits for another one says so, and goes on waiting. */
const LOCK_WAIT_SECONDS = 10;

/** Seconds to wait for another program that has a table in use: it would hold up all nodes. */
const TABLE_LOCK_WAIT_SECONDS = 60;

/** Seconds after which the database gives the lock of a node up whose machine is gone without a word. */
const WAIT_TIMEOUT_SECONDS = 600;

/** Characters in the name of a lock. */
const MAX_LOCK_NAME_LENGTH = 64;

const SETTINGS = [
  // Strict, so that nothing is cut to fit; dates of 0 are the operator's affair.
  "sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
  `lock_wait_timeout = ${TABLE_LOCK_WAIT_SECONDS}`,
  `wait_timeout = ${WAIT_TIMEOUT_SECONDS}`,
];

/** Errors of the database that have a meaning here; the numbers are part of its protocol. */
const ACCESS_DENIED_TO_DATABASE = 1044;
const NO_SUCH_DATABASE = 1049;
const NO_DATABASE = 1046;
const NO_SUCH_COLUMN = 1054;
const NO_SUCH_TABLE = 1146;

/**
 * Makes the database the server's: makes it if it isn't there, or takes it over from a C++ server. Of many that start
 * at once one does it and the others wait. It can be ended at any moment and begun again. Rejects with an Error of one
 * line that doesn't have the password in it.
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
      (rows, reasons) => log.warn("offline messages left", { rows, reasons }),
    );
    if (plan.blockers.length > 0) {
      throw new Error(`the database can't be taken over as it is: ${plan.blockers.join("; ")}`);
    }
    await applyPlan(db, plan, log);
  } finally {
    await close(db);
  }
}

/** Tells what {@link migrate} would do, and changes nothing. Rejects as it does. */
export async function checkUpgrade(options: SchemaConnection): Promise<UpgradeCheck> {
  const db = await connect(options, false);
  try {
    if (await isCurrent(db)) return { changes: [], blockers: [] };
    const [row] = await queryRows<{ name: string | null }>(db, "SELECT DATABASE() AS name");
    const { before, transaction, after, blockers } = await makePlan(db, await inspectSchema(db), () => {});
    const changes = [...before, ...transaction, ...after].map(({ description }) => description);
    if (row!.name === null) changes.unshift(`make the database ${options.database}`);
    return { changes, blockers };
  } finally {
    await close(db);
  }
}

/** Connects to the database, which is made if it isn't there and `make` is true; else there is none then. */
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
    // First of all: a server can be set up to take what it is sent for another character set, and quotes for letters.
    await db.query("SET NAMES utf8mb4 COLLATE utf8mb4_bin");
    await db.query(`SET ${SETTINGS.map((setting) => `SESSION ${setting}`).join(", ")}`);
    if (create) await useDatabase(db, options.database);
    return db;
  } catch (error) {
    await close(db);
    throw error;
  }
}

/** What the statements here rely on, whatever else was asked for. */
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
    throw new Error(`there is no database ${name}, and it can't be made: ${(error as Error).message}`);
  }
  await db.query(`USE ${quoteName(name)}`);
}

function accessDeniedText(database: string, error: unknown): string {
  return `${(error as Error).message}; an administrator can grant it all it needs: ` +
    `GRANT ${GRANTS} ON ${quoteName(database)}.* TO that user`;
}

/** Whether the schema is of the version that is wanted. Rejects if it is of a later one. */
async function isCurrent(db: Db): Promise<boolean> {
  const version = await versionOf(db);
  if (version <= SCHEMA_VERSION) return version === SCHEMA_VERSION;
  throw new Error(
    `its schema has version ${version}, this program knows ${SCHEMA_VERSION}; use the program's newer release`,
  );
}

/** 0 where none is noted: in a database that is empty, half-made, or another server's. */
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

/** Waits until no other node is at it. The lock goes with the connection, at its end at the latest. */
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
    if (row!.got === null) throw new Error("the database gives no lock");
    log.info("waiting", { for: "another node that brings the database up to date", database });
  }
}

async function close(db: Connection): Promise<void> {
  try {
    await db.end();
  } catch {
    db.destroy(); // it was lost already
  }
}
