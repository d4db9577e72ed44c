/** What the server asks of a database server before it trusts it with messages. */
import type { Session } from "./session.ts";
import { among, sql } from "./sql.ts";

/** The oldest versions that have all that is used here: window functions, and rows locked without their neighbours. */
const OLDEST = { MySQL: [8, 0], MariaDB: [10, 6] } as const;

/** Bytes that a statement must be allowed to have: the longest message, escaped, and room for others. */
const LEAST_PACKET = 4 * 1_024 * 1_024;

/** What was found. */
export interface Checked {
  /** Bytes of the longest statement that the server takes. */
  readonly maxPacket: number;
}

/** Rejects with an Error of one line if the server is too old, or set up so that a committed message can be lost. */
export async function checkServer(session: Session): Promise<Checked> {
  const [found, variables] = await session.query(
    sql`SELECT version() AS version`,
    sql`SHOW VARIABLES WHERE ${
      among("Variable_name", [
        "innodb_flush_log_at_trx_commit",
        "log_bin",
        "sync_binlog",
        "binlog_format",
        "max_allowed_packet",
      ])
    }`,
  );
  checkVersion(found!.rows[0]!.version as string);
  const settings = new Map(variables!.rows.map((row) => [row.Variable_name as string, row.Value as string]));
  checkSettings(settings);
  return { maxPacket: Number(settings.get("max_allowed_packet")) };
}

/** Refuses what is older than {@link OLDEST}. `version` is as the server tells it. */
export function checkVersion(version: string): void {
  const product = /mariadb/i.test(version) ? "MariaDB" : "MySQL";
  const [major, minor] = OLDEST[product];
  const [, x, y] = /(\d+)\.(\d+)\./.exec(version.replace(/^5\.5\.5-/, "")) ?? []; // as MariaDB may call itself
  if (Number(x) > major || (Number(x) === major && Number(y) >= minor)) return;
  throw new Error(`${product} ${major}.${minor} or later is needed, and this is ${version}`);
}

/**
 * Refuses settings with which a commit can be answered before it is safe (invariant I1), by the server's names of them.
 * The binary log counts too: after a crash, InnoDB rolls back what is prepared but not in it.
 */
export function checkSettings(settings: ReadonlyMap<string, string>): void {
  const flush = settings.get("innodb_flush_log_at_trx_commit");
  if (flush !== "1") throw lossy("innodb_flush_log_at_trx_commit", flush);
  if (settings.get("log_bin") === "ON") {
    const sync = settings.get("sync_binlog");
    if (sync !== "1") throw lossy("sync_binlog", sync);
    if (settings.get("binlog_format") === "STATEMENT") {
      throw new Error(
        "binlog_format is STATEMENT, which InnoDB doesn't write at READ COMMITTED; SET GLOBAL binlog_format = 'ROW' mends it",
      );
    }
  }
  const packet = Number(settings.get("max_allowed_packet"));
  if (!(packet >= LEAST_PACKET)) {
    throw new Error(
      `max_allowed_packet is ${packet}, which the longest messages don't fit in; ` +
        `SET GLOBAL max_allowed_packet = ${LEAST_PACKET} or more mends it`,
    );
  }
}

function lossy(setting: string, value: string | undefined): Error {
  return new Error(
    `${setting} is ${value}, with which a message that was accepted can be lost when the machine crashes; ` +
      `SET GLOBAL ${setting} = 1 mends it (and in the server's configuration file, for its next start)`,
  );
}
