/** What the server asks of a database server before it trusts it with messages. */
import { SCHEMA_VERSION } from "./schema/migrate.ts";
import { inList, type Sql, sql } from "./sql.ts";

/** The oldest versions that have all that is used here: window functions, and rows locked without their neighbours. */
const MIN_VERSIONS = { MySQL: [8, 0], MariaDB: [10, 6] } as const;

/** Bytes that a statement must be allowed to have: the longest message, escaped, and room for others. */
const MIN_PACKET_BYTES = 4 * 1_024 * 1_024;

/** What was found. */
export interface ServerInfo {
  /** Bytes of the longest statement that the server takes. */
  readonly maxPacketBytes: number;
}

/** What must be asked of a server that a connection has just been made to, for {@link checkServer}. */
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
 * What is asked again and again while a connection is in use, for {@link recheckServer}: what can change without its end.
 * It is much cheaper than SHOW VARIABLES.
 */
export const RECHECK_QUERY: Sql = sql`SELECT @@GLOBAL.innodb_flush_log_at_trx_commit AS flush,
  @@GLOBAL.log_bin AS log_bin, @@GLOBAL.sync_binlog AS sync_binlog,
  (SELECT MAX(version) FROM SchemaVersion) AS version`;

/**
 * Throws an Error of one line if the server, by its answers to {@link SERVER_QUERIES}, is too old, or set up so that a
 * committed message can be lost.
 */
export function checkServer(found: Rows, variables: Rows, isSingleWriter: boolean): ServerInfo {
  checkVersion(found[0]!.version as string);
  const settings = new Map(variables.map((row) => [row.Variable_name as string, row.Value as string]));
  checkSettings(settings, isSingleWriter);
  return { maxPacketBytes: Number(settings.get("max_allowed_packet")) };
}

/** Throws an Error of one line if the answer to {@link RECHECK_QUERY} is no longer what is needed. */
export function recheckServer([row]: Rows): void {
  checkDurability(String(row!.flush), row!.log_bin === 1, String(row!.sync_binlog));
  const version = Number(row!.version);
  if (version > SCHEMA_VERSION) {
    throw new Error(
      `the database's schema has version ${version} by now, and this program knows ${SCHEMA_VERSION}: ` +
        "nothing is written to it; use the program's newer release",
    );
  }
}

type Rows = readonly Readonly<Record<string, unknown>>[];

/** Refuses what is older than {@link MIN_VERSIONS}. `version` is as the server tells it. */
export function checkVersion(version: string): void {
  if (/tidb/i.test(version)) {
    throw new Error(`MySQL or MariaDB is needed; this is TiDB (${version}), which has not been tried yet`);
  }
  const product = /mariadb/i.test(version) ? "MariaDB" : "MySQL";
  const [major, minor] = MIN_VERSIONS[product];
  const [, x, y] = /(\d+)\.(\d+)\./.exec(version.replace(/^5\.5\.5-/, "")) ?? []; // as MariaDB may call itself
  if (Number(x) > major || (Number(x) === major && Number(y) >= minor)) return;
  throw new Error(`${product} ${major}.${minor} or later is needed, and this is ${version}`);
}

/**
 * Refuses settings with which a commit can be answered before it is safe (invariant I1), by the server's names of them.
 * The binary log counts too: after a crash, InnoDB rolls back what is prepared but not in it. And so do several members
 * of a Galera cluster: one aborts transactions for what another has committed, and not each statement's answer says so.
 */
export function checkSettings(settings: ReadonlyMap<string, string>, isSingleWriter = false): void {
  const isLogged = settings.get("log_bin") === "ON";
  checkDurability(settings.get("innodb_flush_log_at_trx_commit"), isLogged, settings.get("sync_binlog"));
  if (isLogged && settings.get("binlog_format") === "STATEMENT") {
    throw new Error(
      "binlog_format is STATEMENT, which InnoDB doesn't write at READ COMMITTED; SET GLOBAL binlog_format = 'ROW' mends it",
    );
  }
  if (settings.get("wsrep_on") === "ON" && !isSingleWriter) {
    throw new Error(
      "wsrep_on is ON, and messages that were accepted can be lost when nodes write to several members of a " +
        "Galera cluster; --single-writer says that all nodes use one and the same member",
    );
  }
  const packet = Number(settings.get("max_allowed_packet"));
  if (!(packet >= MIN_PACKET_BYTES)) {
    throw new Error(
      `max_allowed_packet is ${packet}, which the longest messages don't fit in; ` +
        `SET GLOBAL max_allowed_packet = ${MIN_PACKET_BYTES} or more mends it`,
    );
  }
}

function checkDurability(flush: string | undefined, isLogged: boolean, sync: string | undefined): void {
  if (flush !== "1") throw durabilityError("innodb_flush_log_at_trx_commit", flush);
  if (isLogged && sync !== "1") throw durabilityError("sync_binlog", sync);
}

function durabilityError(setting: string, value: string | undefined): Error {
  return new Error(
    `${setting} is ${value}, with which a message that was accepted can be lost when the machine crashes; ` +
      `SET GLOBAL ${setting} = 1 mends it (and in the server's configuration file, for its next start)`,
  );
}
