/** One connection to the database, with the settings that all statements of the store require. */
import { type Connection, createConnection } from "mysql2";
import type { Socket } from "node:net";
import { connectTo, driverOptions, type MysqlAddress } from "./address.ts";
import { checkServer, RECHECK_QUERY, recheckServer, SERVER_QUERIES, type ServerInfo } from "./checks.ts";
import {
  DatabaseError,
  type ErrorKind,
  toConnectError,
  toDatabaseError,
  UnsafeServerError,
} from "./errors.ts";
import { type Fence, FencedSql, SELECT_EPOCH } from "./fence.ts";
import { type Sql, sql } from "./sql.ts";
import {
  AUTOCOMMIT_OFF,
  AUTOCOMMIT_ON,
  BEGIN,
  checkTransaction,
  COMMIT,
  EXPANSIONS,
  INTERNAL_STATEMENTS,
  ROLLBACK,
} from "./transaction.ts";

/** Milliseconds for connecting and authentication. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Milliseconds without received bytes after which a query times out. That is far more than any query takes on
 * a working server, lock waits included. It also covers the transmission of a large request over a slow link.
 * A large reply may take longer as long as bytes arrive.
 */
const QUERY_TIMEOUT_MS = 10_000;

/**
 * Seconds that a statement waits for a lock: longer than a commit on a slow disk, and far below
 * {@link QUERY_TIMEOUT_MS}.
 */
const LOCK_WAIT_TIMEOUT_SECONDS = 1;

/**
 * Seconds after which the server ends an idle connection. If a node freezes or its machine fails in a
 * transaction, the locks of the transaction last as long.
 */
const WAIT_TIMEOUT_SECONDS = 10;

/** Milliseconds after which an idle connection is not reused: well before the server may end it. */
export const MAX_IDLE_MS = 5_000;

/**
 * Milliseconds between two checks that the server's commits are durable: an operator may change that at any
 * time. A check takes some hundredths of a millisecond, and no extra round trip.
 */
const RECHECK_INTERVAL_MS = 1_000;

/** Milliseconds for an orderly close. */
const CLOSE_TIMEOUT_MS = 1_000;

/** The bit of the TLS capability in the server's handshake. */
const CLIENT_SSL_FLAG = 0x800;

/**
 * The settings that the store requires, whatever the server's defaults are.
 * - The character set is first. Some servers interpret text in another one by default, in which a quote can
 *   be part of a letter.
 * - Strict mode: the server never changes a value to make it fit. The backslash escapes, as {@link sql}
 *   writes it.
 * - READ COMMITTED: a statement sees all commits before its begin, and locks no gaps.
 * - MariaDB must not convert a long list to a join, which would lock rows in the order of the join.
 */
const SETTINGS = [
  sql`SET NAMES utf8mb4 COLLATE utf8mb4_bin`,
  sql`SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED`,
  sql`SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION autocommit = 1,
    SESSION innodb_lock_wait_timeout = ${LOCK_WAIT_TIMEOUT_SECONDS},
    SESSION wait_timeout = ${WAIT_TIMEOUT_SECONDS}
    /*M! , SESSION in_predicate_conversion_threshold = 0 */`,
];

/** Errors after which a connection is not reused. */
const FATAL_KINDS: ReadonlySet<ErrorKind> = new Set<ErrorKind>(["connection_lost", "unavailable", "timeout"]);

const TIMEOUT_MESSAGE = `the database did not reply within ${QUERY_TIMEOUT_MS} ms`;

/** The result of a statement. */
export interface QueryResult {
  /** The rows, by column names. Empty for a statement that only changes data. */
  readonly rows: readonly Row[];
  /** The id that the statement has allocated, or 0. */
  readonly insertId: number;
}

/** A row of a result. */
export type Row = Readonly<Record<string, unknown>>;

/** A connection to the database. It has one caller at a time. */
export class MysqlConnection {
  readonly #socket: Socket;
  readonly #driver: Connection;
  readonly #fence: Fence | undefined;
  #isBroken = false;
  #inTransaction = false;
  #hasAutocommit = true;
  #lastUsedAt = performance.now();
  #lastCheckedAt = performance.now();
  #serverInfo: ServerInfo | undefined;
  readonly #hasSchema: boolean;

  private constructor(address: MysqlAddress, fence: Fence | undefined) {
    this.#fence = fence;
    this.#hasSchema = address.database !== "";
    this.#socket = connectTo(address);
    this.#driver = createConnection({
      ...driverOptions(address),
      stream: this.#socket,
      charset: "UTF8MB4_BIN",
      connectTimeout: CONNECT_TIMEOUT_MS,
      multipleStatements: true,
      queryFormat: (text: string) => text,
      flags: ["-LOCAL_FILES"],
      trace: false,
    });
    this.#driver.on("error", () => this.#isBroken = true);
    this.#driver.on("end", () => this.#isBroken = true);
  }

  /**
   * Connects. Rejects with a {@link DatabaseError}; it is an {@link UnsafeServerError} if writing to the
   * server is unsafe. The schema is only checked if the address names a database. `fence` is checked in each
   * transaction.
   */
  static async open(address: MysqlAddress, fence?: Fence): Promise<MysqlConnection> {
    const connection = new MysqlConnection(address, fence);
    try {
      await connection.#connect(address);
      await connection.#configure(address.singleWriter ?? false);
      return connection;
    } catch (error) {
      connection.destroy();
      throw toDatabaseError(error);
    }
  }

  /**
   * Connects, and closes the connection. Does not check the server's settings. Rejects as
   * {@link MysqlConnection.open} does; the error names a wrong certificate or a lack of TLS.
   */
  static async probe(address: MysqlAddress): Promise<void> {
    const connection = new MysqlConnection(address, undefined);
    try {
      await connection.#connect(address);
    } catch (error) {
      connection.destroy();
      throw toDatabaseError(error);
    }
    await connection.close();
  }

  /** The results of the checks of the server. */
  get serverInfo(): ServerInfo {
    return this.#serverInfo!;
  }

  /** Whether the connection can be used or reused. */
  get isUsable(): boolean {
    return !this.#isBroken && performance.now() - this.#lastUsedAt < MAX_IDLE_MS;
  }

  /** Whether a transaction has begun and not been committed. */
  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /**
   * Sends all statements in one request, and returns their results. A failed statement prevents those after
   * it. Rejects with a {@link DatabaseError}. After `connection_lost`, `timeout` and the server's
   * `unavailable` the connection is not usable. Another connection may be, to a server that has taken over.
   */
  async query(...statements: readonly Sql[]): Promise<QueryResult[]> {
    const rechecks = !this.#inTransaction && this.#serverInfo && this.#hasSchema &&
      performance.now() - this.#lastCheckedAt >= RECHECK_INTERVAL_MS;
    const begins = statements[0] === BEGIN;
    if (begins) this.#inTransaction = true;
    const fence = begins && !(statements[1] instanceof FencedSql) ? this.#fence : undefined;
    const fenced = fence ? [BEGIN, SELECT_EPOCH, ...statements.slice(1)] : statements;
    const isCommit = this.#inTransaction && statements.at(-1) === COMMIT;
    const prefix = [...this.#autocommitSwitch(), ...rechecks ? [RECHECK_QUERY] : []];
    const sent = [...prefix, ...fenced.flatMap((statement) => EXPANSIONS.get(statement) ?? [statement])];
    const reply = await this.#send(sent.map(({ text }) => text).join(";\n"));
    const all = sent.length === 1 ? [reply] : reply as unknown[];
    if (rechecks) this.#recheck(all[prefix.length - 1]);
    if (isCommit) this.#inTransaction = false;
    const replies = all.slice(prefix.length).filter((_, i) =>
      !INTERNAL_STATEMENTS.has(sent[prefix.length + i]!)
    );
    if (this.#inTransaction && statements[0] !== ROLLBACK) checkTransaction(replies);
    const results = replies.map(resultOf);
    if (fence) fence.check(results.splice(1, 1)[0]!.rows[0]?.epoch);
    return results;
  }

  /** Rolls the transaction back. */
  async rollback(): Promise<void> {
    await this.query(ROLLBACK);
    this.#inTransaction = false;
  }

  /** Closes the connection in order, and resolves when it has ended. */
  async close(): Promise<void> {
    if (!this.#isBroken) {
      const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
      const timer = setTimeout(() => this.destroy(), CLOSE_TIMEOUT_MS);
      this.#driver.end();
      await closed;
      clearTimeout(timer);
    }
    this.destroy();
  }

  /** Ends the connection immediately. */
  destroy(): void {
    this.#isBroken = true;
    this.#driver.destroy();
    this.#socket.destroy();
  }

  async #connect({ tls, host }: MysqlAddress): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) =>
        this.#driver.connect((error) => error ? reject(error) : resolve())
      );
    } catch (error) {
      const { serverCapabilityFlags } = this.#driver as unknown as { serverCapabilityFlags: number };
      throw toConnectError(error, tls !== undefined, (serverCapabilityFlags & CLIENT_SSL_FLAG) !== 0, host);
    }
  }

  /** Sends the settings and the checks in one round trip. */
  async #configure(isSingleWriter: boolean): Promise<void> {
    const checks = this.#hasSchema ? [...SERVER_QUERIES, RECHECK_QUERY] : SERVER_QUERIES;
    const results = await this.query(...SETTINGS, ...checks);
    const [found, variables, recheck] = results.slice(SETTINGS.length);
    this.#requireSafe(() => {
      this.#serverInfo = checkServer(found!.rows, variables!.rows, isSingleWriter);
      if (recheck) recheckServer(recheck.rows);
    });
  }

  /**
   * Returns the statement that makes autocommit fit the next statements, if one is needed. It must be the
   * first of a request, so that it runs even if a later one fails.
   */
  #autocommitSwitch(): readonly Sql[] {
    if (this.#hasAutocommit !== this.#inTransaction) return [];
    this.#hasAutocommit = !this.#inTransaction;
    return [this.#hasAutocommit ? AUTOCOMMIT_ON : AUTOCOMMIT_OFF];
  }

  #recheck(reply: unknown): void {
    this.#lastCheckedAt = performance.now();
    this.#requireSafe(() => recheckServer(resultOf(reply).rows));
  }

  #requireSafe(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.destroy();
      throw new UnsafeServerError((error as Error).message);
    }
  }

  async #send(text: string): Promise<unknown> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const wait = (bytesRead: number) => {
          timer = setTimeout(() => {
            if (this.#socket.bytesRead > bytesRead) wait(this.#socket.bytesRead);
            else {
              this.#socket.resetAndDestroy(); // drops the unsent bytes: the next connection needs the link
              reject(new DatabaseError("timeout", TIMEOUT_MESSAGE));
            }
          }, QUERY_TIMEOUT_MS);
        };
        wait(this.#socket.bytesRead);
        this.#driver.query(text, (error, result) => error ? reject(error) : resolve(result));
      });
    } catch (error) {
      const wrapped = toDatabaseError(error);
      if (FATAL_KINDS.has(wrapped.kind)) this.destroy();
      throw wrapped;
    } finally {
      clearTimeout(timer);
      this.#lastUsedAt = performance.now();
    }
  }
}

function resultOf(reply: unknown): QueryResult {
  if (Array.isArray(reply)) return { rows: reply as Row[], insertId: 0 };
  return { rows: [], insertId: (reply as { insertId: number }).insertId };
}
