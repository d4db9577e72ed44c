/** One connection to the database, with the settings that all statements here rely on. */
import { type Connection, createConnection } from "mysql2";
import { connect, type Socket } from "node:net";
import type { MysqlAddress } from "./address.ts";
import { DatabaseError, databaseError } from "./errors.ts";
import { EPOCH, type Fence } from "./fence.ts";
import { type Sql, sql } from "./sql.ts";

/** Milliseconds for a connection to be made and the password to be checked. */
const CONNECT_TIME = 5_000;

/**
 * Milliseconds for what is sent at once to be answered: far more than anything here takes on a server that works, lock
 * waits included, and little enough for clients to be told that it doesn't.
 */
const ANSWER_TIME = 10_000;

/** Seconds that a statement waits for a lock: a commit elsewhere, on a slow disk; and far less than ANSWER_TIME. */
const LOCK_WAIT = 1;

/**
 * Seconds after which the server ends a connection that is silent. If a node freezes or its machine dies within a
 * transaction, its locks are held for as long.
 */
const SERVER_PATIENCE = 10;

/** Milliseconds of silence after which a connection isn't used again: before the server might just be ending it. */
export const FRESH = 5_000;

/** Milliseconds for a connection to be closed in good order. */
const GOODBYE_TIME = 1_000;

/**
 * Begins a transaction. In the first place of a {@link Session.query}; {@link COMMIT} in the last place of that one or
 * a later one ends it, or else it is rolled back.
 */
export const BEGIN: Sql = sql`START TRANSACTION`;
/** Commits a transaction; see {@link BEGIN}. */
export const COMMIT: Sql = sql`COMMIT`;
const ROLLBACK = sql`ROLLBACK`;

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
    SESSION innodb_lock_wait_timeout = ${LOCK_WAIT}, SESSION wait_timeout = ${SERVER_PATIENCE}
    /*M! , SESSION in_predicate_conversion_threshold = 0 */`,
];

const SILENT = `the database gave no answer for ${ANSWER_TIME} ms`;

/** What a statement gives. */
export interface Result {
  /** By their columns' names; none, where it only changes something. */
  readonly rows: readonly Row[];
  /** The id that the statement has given out, or 0. */
  readonly insertId: number;
}

/** A row. */
export type Row = Readonly<Record<string, unknown>>;

/** A connection. One caller at a time uses it. */
export class Session {
  readonly #socket: Socket;
  readonly #connection: Connection;
  readonly #fence: Fence | undefined;
  #broken = false;
  #inTransaction = false;
  #used = performance.now(); // last

  private constructor(address: MysqlAddress, fence: Fence | undefined) {
    this.#fence = fence;
    const { host, port, user, password, database } = address;
    this.#socket = connect({ host, port, noDelay: true, keepAlive: true });
    this.#connection = createConnection({
      stream: this.#socket,
      user,
      password,
      database,
      charset: "UTF8MB4_BIN",
      connectTimeout: CONNECT_TIME,
      multipleStatements: true,
      queryFormat: (text: string) => text,
      flags: ["-LOCAL_FILES"],
      trace: false,
    });
    this.#connection.on("error", () => this.#broken = true);
    this.#connection.on("end", () => this.#broken = true);
  }

  /** Connects. `fence` is checked in each transaction. Rejects with a {@link DatabaseError}. */
  static async open(address: MysqlAddress, fence?: Fence): Promise<Session> {
    const session = new Session(address, fence);
    try {
      await new Promise<void>((resolve, reject) =>
        session.#connection.connect((error) => error ? reject(error) : resolve())
      );
      await session.query(...SETTINGS);
      return session;
    } catch (error) {
      session.destroy();
      throw databaseError(error);
    }
  }

  /** Whether it can be used (again). */
  get usable(): boolean {
    return !this.#broken && performance.now() - this.#used < FRESH;
  }

  /** Whether a transaction has begun and not been committed. */
  get inTransaction(): boolean {
    return this.#inTransaction;
  }

  /**
   * Sends statements, all at once, and gives their results. If one fails, those after it are not carried out. Rejects
   * with a {@link DatabaseError}, after `lost` and `refused` of which the session is not usable: another may be, on a
   * server that has taken over.
   */
  async query(...statements: readonly Sql[]): Promise<Result[]> {
    const begins = statements[0] === BEGIN;
    if (begins) this.#inTransaction = true;
    const fence = begins ? this.#fence : undefined;
    const sent = fence ? [BEGIN, EPOCH, ...statements.slice(1)] : statements;
    const answer = await this.#answer(sent.map(({ text }) => text).join(";\n"));
    if (sent.at(-1) === COMMIT) this.#inTransaction = false;
    const results = (sent.length === 1 ? [answer] : answer as unknown[]).map(resultOf);
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
    if (!this.#broken) {
      const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
      const timer = setTimeout(() => this.destroy(), GOODBYE_TIME);
      this.#connection.end();
      await closed;
      clearTimeout(timer);
    }
    this.destroy();
  }

  /** Lets go of the connection at once, whatever the server does. */
  destroy(): void {
    this.#broken = true;
    this.#connection.destroy();
    this.#socket.destroy();
  }

  async #answer(text: string): Promise<unknown> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise((resolve, reject) => {
        timer = setTimeout(() => reject(new DatabaseError("refused", SILENT)), ANSWER_TIME);
        this.#connection.query(text, (error, result) => error ? reject(error) : resolve(result));
      });
    } catch (error) {
      const told = databaseError(error);
      if (told.kind === "lost" || told.kind === "refused") this.destroy();
      throw told;
    } finally {
      clearTimeout(timer);
      this.#used = performance.now();
    }
  }
}

function resultOf(answer: unknown): Result {
  if (Array.isArray(answer)) return { rows: answer as Row[], insertId: 0 };
  return { rows: [], insertId: (answer as { insertId: number }).insertId };
}
