/** One connection to the database, with the settings that all statements here rely on. */
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
import { type Fence, SELECT_EPOCH } from "./fence.ts";
import { type Sql, sql } from "./sql.ts";
import { BEGIN, checkTransaction, COMMIT, EXPANSIONS, INTERNAL_STATEMENTS, ROLLBACK } from "./transaction.ts";

/** Milliseconds for a connection to be made and the password to be checked. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Milliseconds of silence after which no answer is waited for: far more than anything here takes on a server that works,
 * lock waits included, and little enough for clients to be told that it doesn't. Over a slow link a large request takes
 * as long to be sent; a large answer is waited for as long as more of it comes.
 */
const QUERY_TIMEOUT_MS = 10_000;

/** Seconds that a statement waits for a lock: a commit elsewhere, on a slow disk; and far less than ANSWER_TIME. */
const LOCK_WAIT_TIMEOUT_SECONDS = 1;

/**
 * Seconds after which the server ends a connection that is silent. If a node freezes or its machine dies within a
 * transaction, its locks are held for as long.
 */
const WAIT_TIMEOUT_SECONDS = 10;

/** Milliseconds of silence after which a connection isn't used again: before the server might just be ending it. */
export const MAX_IDLE_MS = 5_000;

/**
 * Milliseconds after which a connection asks anew whether the server still keeps what it commits: an operator can change
 * that at any moment. A question costs some hundredths of a millisecond, and no round trip.
 */
const RECHECK_INTERVAL_MS = 1_000;

/** Milliseconds for a connection to be closed in good order. */
const CLOSE_TIMEOUT_MS = 1_000;

/** The bit of what a server can do for TLS; a part of its protocol. */
const CLIENT_SSL_FLAG = 0x800;

/**
 * Whatever the server's defaults are. The character set before all else: some servers are set up to take what they are
 * sent for another one, in which a quote can be a part of a letter. Strictness: no value is ever changed to fit. The backslash escapes, as in what
 * {@link sql} writes. READ COMMITTED: a statement sees what is committed when it begins, and locks no gaps. MariaDB must
 * not make a join of a long list, which would be locked in the join's order.
 */
const SETTINGS = [
  sql`SET NAMES utf8mb4 COLLATE utf8mb4_bin`,
  sql`SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED`,
  sql`SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', SESSION autocommit = 1,
    SESSION innodb_lock_wait_timeout = ${LOCK_WAIT_TIMEOUT_SECONDS}, SESSION wait_timeout = ${WAIT_TIMEOUT_SECONDS}
    /*M! , SESSION in_predicate_conversion_threshold = 0 */`,
];

/** Errors after which a connection is not used again. */
const FATAL_KINDS: ReadonlySet<ErrorKind> = new Set<ErrorKind>(["lost", "refused", "silent"]);

const TIMEOUT_MESSAGE = `the database gave no answer for ${QUERY_TIMEOUT_MS} ms`;

/** What a statement gives. */
export interface QueryResult {
  /** By their columns' names; none, where it only changes something. */
  readonly rows: readonly Row[];
  /** The id that the statement has given out, or 0. */
  readonly insertId: number;
}

/** A row. */
export type Row = Readonly<Record<string, unknown>>;

/** A connection. One caller at a time uses it. */
export class MysqlConnection {
  readonly #socket: Socket;
  readonly #driver: Connection;
  readonly #fence: Fence | undefined;
  #isBroken = false;
  #inTransaction = false;
  #lastUsedAt = performance.now(); // last
  #lastCheckedAt = performance.now(); // whether the server is safe, last
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
   * Connects. Rejects with a {@link DatabaseError}, which is {@link UnsafeServerError} if the server is not to be written to. The
   * schema is only looked at where the address names a database. `fence` is checked in each transaction.
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
   * Connects, and lets go again. Rejects as {@link MysqlConnection.open} does, with the reason where the server's certificate or
   * the lack of TLS is wrong, and does not look at how the server is set up.
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

  /** What was found about the server. */
  get serverInfo(): ServerInfo {
    return this.#serverInfo!;
  }

  /** Whether it can be used (again). */
  get isUsable(): boolean {
    return !this.#isBroken && performance.now() - this.#lastUsedAt < MAX_IDLE_MS;
  }

  /** Whether a transaction has begun and not been committed. */
  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /**
   * Sends statements, all at once, and gives their results. If one fails, those after it are not carried out. Rejects
   * with a {@link DatabaseError}, after `lost` and `silent` of which, and after `refused` by the server, the session is not
   * usable: another may be, on a server that has taken over.
   */
  async query(...statements: readonly Sql[]): Promise<QueryResult[]> {
    const rechecks = !this.#inTransaction && this.#serverInfo && this.#hasSchema &&
      performance.now() - this.#lastCheckedAt >= RECHECK_INTERVAL_MS;
    const begins = statements[0] === BEGIN;
    if (begins) this.#inTransaction = true;
    const fence = begins ? this.#fence : undefined;
    const fenced = fence ? [BEGIN, SELECT_EPOCH, ...statements.slice(1)] : statements;
    const isCommit = this.#inTransaction && statements.at(-1) === COMMIT;
    const sent = fenced.flatMap((statement) => EXPANSIONS.get(statement) ?? [statement]);
    if (rechecks) sent.unshift(RECHECK_QUERY);
    const answer = await this.#send(sent.map(({ text }) => text).join(";\n"));
    const all = sent.length === 1 ? [answer] : answer as unknown[];
    if (rechecks) this.#recheck(all[0]);
    if (isCommit) this.#inTransaction = false;
    const answers = all.slice(rechecks ? 1 : 0).filter((_, i) =>
      !INTERNAL_STATEMENTS.has(sent[rechecks ? i + 1 : i]!)
    );
    if (this.#inTransaction && statements[0] !== ROLLBACK) checkTransaction(answers);
    const results = answers.map(resultOf);
    if (fence) fence.check(results.splice(1, 1)[0]!.rows[0]?.epoch);
    return results;
  }

  /** Leaves nothing of a transaction. */
  async rollback(): Promise<void> {
    await this.query(ROLLBACK);
    this.#inTransaction = false;
  }

  /** Says goodbye and waits until nothing of the connection is left. */
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

  /** Lets go of the connection at once, whatever the server does. */
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

  /** Settings and checks, in one round trip. */
  async #configure(isSingleWriter: boolean): Promise<void> {
    const checks = this.#hasSchema ? [...SERVER_QUERIES, RECHECK_QUERY] : SERVER_QUERIES;
    const answers = await this.query(...SETTINGS, ...checks);
    const [found, variables, recheck] = answers.slice(SETTINGS.length);
    this.#requireSafe(() => {
      this.#serverInfo = checkServer(found!.rows, variables!.rows, isSingleWriter);
      if (recheck) recheckServer(recheck.rows);
    });
  }

  #recheck(answer: unknown): void {
    this.#lastCheckedAt = performance.now();
    this.#requireSafe(() => recheckServer(resultOf(answer).rows));
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
              this.#socket.resetAndDestroy(); // what is still on its way is not sent: the next connection needs the link
              reject(new DatabaseError("silent", TIMEOUT_MESSAGE));
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

function resultOf(answer: unknown): QueryResult {
  if (Array.isArray(answer)) return { rows: answer as Row[], insertId: 0 };
  return { rows: [], insertId: (answer as { insertId: number }).insertId };
}
