/** Checks that a database server is safe to store messages. */
import { SCHEMA_VERSION } from "./schema/migrate.ts";
import { inList, type Sql, sql } from "./sql.ts";

/** The oldest versions with all features in use: window functions, and row locks without gap locks. */
const MIN_VERSIONS = { MySQL: [8, 0], MariaDB: [10, 6] } as const;

/** Bytes that a statement may need: the longest message, escaped, and the rest of the statement. */
const MIN_PACKET_BYTES = 4 * 1_024 * 1_024;

/** The result of the checks. */
export interface ServerInfo {
  /** Bytes of the longest statement that the server accepts. */
  readonly maxPacketBytes: number;
}

/** The queries of a new connection, for {@link checkServer}. */
export const SERVER_QUERIES: readonly Sql[] = [
  sql`SELECT version() AS version`,
  sql`SHOW GLOBAL VARIABLES WHERE ${
    inList("Variable_name", [
      "innodb_flush_log_at_trx_commit",
      "log_bin",
      "sync_binlog",
      "binlog_format",
      "max_allowed_packet",
      "wsrep_on",
    ])
  }`,
];

/**
 * The query that is repeated while a connection is in use, for {@link recheckServer}. It covers the settings
 * that may change at any time, and is much cheaper than SHOW VARIABLES.
 */
export const RECHECK_QUERY: Sql = sql`SELECT @@GLOBAL.innodb_flush_log_at_trx_commit AS flush,
  @@GLOBAL.log_bin AS log_bin, @@GLOBAL.sync_binlog AS sync_binlog,
  (SELECT MAX(version) FROM SchemaVersion) AS version`;

/**
 * Checks the results of {@link SERVER_QUERIES}. Throws an Error of one line if the server is too old, or
 * configured so that it can lose a committed message.
 */
export function checkServer(found: Rows, variables: Rows, isSingleWriter: boolean): ServerInfo {
  checkVersion(found[0]!.version as string);
  const settings = new Map(variables.map((row) => [row.Variable_name as string, row.Value as string]));
  checkSettings(settings, isSingleWriter);
  return { maxPacketBytes: Number(settings.get("max_allowed_packet")) };
}

/**
 * Checks the result of {@link RECHECK_QUERY}. Throws an Error of one line if the server is no longer safe.
 */
export function recheckServer([row]: Rows): void {
  checkDurability(String(row!.flush), row!.log_bin === 1, String(row!.sync_binlog));
  const version = Number(row!.version);
  if (version > SCHEMA_VERSION) {
    throw new Error(
      `the schema of the database has version ${version}, and this program supports ` +
        `${SCHEMA_VERSION} only: use a newer release of the program`,
    );
  }
}

type Rows = readonly Readonly<Record<string, unknown>>[];

/** Rejects versions older than {@link MIN_VERSIONS}. `version` is the server's own text. */
export function checkVersion(version: string): void {
  if (/tidb/i.test(version)) {
    throw new Error(`MySQL or MariaDB is required; this is TiDB (${version}), which has not been tested`);
  }
  const product = /mariadb/i.test(version) ? "MariaDB" : "MySQL";
  const [major, minor] = MIN_VERSIONS[product];
  // A prefix of some MariaDB versions.
  const [, x, y] = /(\d+)\.(\d+)\./.exec(version.replace(/^5\.5\.5-/, "")) ?? [];
  if (Number(x) > major || (Number(x) === major && Number(y) >= minor)) return;
  throw new Error(`${product} ${major}.${minor} or later is required; this is ${version}`);
}

/**
 * Rejects settings with which the server may confirm a commit that is not durable (invariant I1). The binary
 * log counts too: after a crash, InnoDB rolls back prepared transactions that are not in the log. Several
 * members of a Galera cluster count too. One member aborts transactions that conflict with commits of
 * another, and some statements do not report it.
 */
export function checkSettings(settings: ReadonlyMap<string, string>, isSingleWriter = false): void {
  const isLogged = settings.get("log_bin") === "ON";
  checkDurability(settings.get("innodb_flush_log_at_trx_commit"), isLogged, settings.get("sync_binlog"));
  if (isLogged && settings.get("binlog_format") === "STATEMENT") {
    throw new Error(
      "binlog_format is STATEMENT, which InnoDB does not support at READ COMMITTED; " +
        "run SET GLOBAL binlog_format = 'ROW'",
    );
  }
  if (settings.get("wsrep_on") === "ON" && !isSingleWriter) {
    throw new Error(
      "wsrep_on is ON: nodes that write to several members of a Galera cluster can lose acknowledged " +
        "messages; set --single-writer if all nodes use one and the same member",
    );
  }
  const packet = Number(settings.get("max_allowed_packet"));
  if (!(packet >= MIN_PACKET_BYTES)) {
    throw new Error(
      `max_allowed_packet is ${packet}, which is too small for the longest messages; ` +
        `run SET GLOBAL max_allowed_packet = ${MIN_PACKET_BYTES}, or a larger value`,
    );
  }
}

function checkDurability(flush: string | undefined, isLogged: boolean, sync: string | undefined): void {
  if (flush !== "1") throw durabilityError("innodb_flush_log_at_trx_commit", flush);
  if (isLogged && sync !== "1") throw durabilityError("sync_binlog", sync);
}

function durabilityError(setting: string, value: string | undefined): Error {
  return new Error(
    `${setting} is ${value}: a crash of the machine can lose acknowledged messages; ` +
      `run SET GLOBAL ${setting} = 1, and set it in the server's configuration file for the next start`,
  );
}
