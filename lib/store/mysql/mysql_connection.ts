/** One connection to the database, with the settings that all statements here rely on. */
import { type Connection, createConnection } from "mysql2";
import type { Socket } from "node:net";
import { connectTo, driverOptions, type MysqlAddress } from "./address.ts";
import { AGAIN_QUESTION, checkAgain, type Checked, checkServer, SERVER_QUESTIONS } from "./checks.ts";
import { connectError, DatabaseError, databaseError, type Kind, Unsafe } from "./errors.ts";
import { EPOCH, type Fence } from "./fence.ts";
import { type Sql, sql } from "./sql.ts";

/** Milliseconds for a connection to be made and the password to be checked. */
const CONNECT_TIME = 5_000;

/**
 * Milliseconds of silence after which no answer is waited for: far more than anything here takes on a server that works,
 * lock waits included, and little enough for clients to be told that it doesn't. Over a slow link a large request takes
 * as long to be sent; a large answer is waited for as long as more of it comes.
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

/**
 * Milliseconds after which a connection asks anew whether the server still keeps what it commits: an operator can change
 * that at any moment. A question costs some hundredths of a millisecond, and no round trip.
 */
const ASK_EVERY_MS = 1_000;

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
 * A member of a replicated group can give up a transaction between two statements of one round trip, and carry out those
 * that follow outside of it. So these are not committed each by itself; and a savepoint, which is gone with the
 * transaction that it was set in, stops at the end what is not whole.
 */
const APART = sql`SET SESSION autocommit = 0`;
const AT_ONCE = sql`SET SESSION autocommit = 1`;
const SAVEPOINT = sql`SAVEPOINT whole`;
const IS_WHOLE = sql`RELEASE SAVEPOINT whole`;

/** What is sent in the place of a statement. */
const AROUND: ReadonlyMap<Sql, readonly Sql[]> = new Map([
  [BEGIN, [APART, BEGIN, SAVEPOINT]],
  [COMMIT, [IS_WHOLE, COMMIT, AT_ONCE]],
  [ROLLBACK, [ROLLBACK, AT_ONCE]],
]);

/** Statements whose answers callers don't see. */
const OWN: ReadonlySet<Sql> = new Set([APART, AT_ONCE, SAVEPOINT, IS_WHOLE]);

/** The bit in the server's status that says that there is a transaction; a part of its protocol. */
const IN_TRANSACTION = 1;

/** The bit of what a server can do for TLS; a part of its protocol. */
const TLS_OFFERED = 0x800;

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

/** Errors after which a connection is not used again. */
const ENDING: ReadonlySet<Kind> = new Set<Kind>(["lost", "refused", "silent"]);

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
  #asked = performance.now(); // whether the server is safe, last
  #checked: Checked | undefined;
  readonly #hasSchema: boolean;

  private constructor(address: MysqlAddress, fence: Fence | undefined) {
    this.#fence = fence;
    this.#hasSchema = address.database !== "";
    this.#socket = connectTo(address);
    this.#connection = createConnection({
      ...driverOptions(address),
      stream: this.#socket,
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

  /**
   * Connects. Rejects with a {@link DatabaseError}, which is {@link Unsafe} if the server is not to be written to. The
   * schema is only looked at where the address names a database. `fence` is checked in each transaction.
   */
  static async open(address: MysqlAddress, fence?: Fence): Promise<Session> {
    const session = new Session(address, fence);
    try {
      await session.#connect(address);
      await session.#begin(address.singleWriter ?? false);
      return session;
    } catch (error) {
      session.destroy();
      throw databaseError(error);
    }
  }

  /**
   * Connects, and lets go again. Rejects as {@link Session.open} does, with the reason where the server's certificate or
   * the lack of TLS is wrong, and does not look at how the server is set up.
   */
  static async try(address: MysqlAddress): Promise<void> {
    const session = new Session(address, undefined);
    try {
      await session.#connect(address);
    } catch (error) {
      session.destroy();
      throw databaseError(error);
    }
    await session.close();
  }

  /** What was found about the server. */
  get checked(): Checked {
    return this.#checked!;
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
   * with a {@link DatabaseError}, after `lost` and `silent` of which, and after `refused` by the server, the session is not
   * usable: another may be, on a server that has taken over.
   */
  async query(...statements: readonly Sql[]): Promise<Result[]> {
    const asks = !this.#inTransaction && this.#checked && this.#hasSchema &&
      performance.now() - this.#asked >= ASK_EVERY_MS;
    const begins = statements[0] === BEGIN;
    if (begins) this.#inTransaction = true;
    const fence = begins ? this.#fence : undefined;
    const fenced = fence ? [BEGIN, EPOCH, ...statements.slice(1)] : statements;
    const isCommit = this.#inTransaction && statements.at(-1) === COMMIT;
    const sent = fenced.flatMap((statement) => AROUND.get(statement) ?? [statement]);
    if (asks) sent.unshift(AGAIN_QUESTION);
    const answer = await this.#answer(sent.map(({ text }) => text).join(";\n"));
    const all = sent.length === 1 ? [answer] : answer as unknown[];
    if (asks) this.#checkAgain(all[0]);
    if (isCommit) this.#inTransaction = false;
    const answers = all.slice(asks ? 1 : 0).filter((_, i) => !OWN.has(sent[asks ? i + 1 : i]!));
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

  async #connect({ tls, host }: MysqlAddress): Promise<void> {
    try {
      await new Promise<void>((resolve, reject) =>
        this.#connection.connect((error) => error ? reject(error) : resolve())
      );
    } catch (error) {
      const { serverCapabilityFlags } = this.#connection as unknown as { serverCapabilityFlags: number };
      throw connectError(error, tls !== undefined, (serverCapabilityFlags & TLS_OFFERED) !== 0, host);
    }
  }

  /** Settings and checks, in one round trip. */
  async #begin(isSingleWriter: boolean): Promise<void> {
    const questions = this.#hasSchema ? [...SERVER_QUESTIONS, AGAIN_QUESTION] : SERVER_QUESTIONS;
    const answers = await this.query(...SETTINGS, ...questions);
    const [found, variables, again] = answers.slice(SETTINGS.length);
    this.#safely(() => {
      this.#checked = checkServer(found!.rows, variables!.rows, isSingleWriter);
      if (again) checkAgain(again.rows);
    });
  }

  #checkAgain(answer: unknown): void {
    this.#asked = performance.now();
    this.#safely(() => checkAgain(resultOf(answer).rows));
  }

  #safely(check: () => void): void {
    try {
      check();
    } catch (error) {
      this.destroy();
      throw new Unsafe((error as Error).message);
    }
  }

  async #answer(text: string): Promise<unknown> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const wait = (seen: number) => {
          timer = setTimeout(() => {
            if (this.#socket.bytesRead > seen) wait(this.#socket.bytesRead);
            else {
              this.#socket.resetAndDestroy(); // what is still on its way is not sent: the next connection needs the link
              reject(new DatabaseError("silent", SILENT));
            }
          }, ANSWER_TIME);
        };
        wait(this.#socket.bytesRead);
        this.#connection.query(text, (error, result) => error ? reject(error) : resolve(result));
      });
    } catch (error) {
      const told = databaseError(error);
      if (ENDING.has(told.kind)) this.destroy();
      throw told;
    } finally {
      clearTimeout(timer);
      this.#used = performance.now();
    }
  }
}

/**
 * Throws if the server has given the transaction up by itself and says so in nothing but a bit, as members of a
 * replicated group can. Answers of rows don't show it.
 */
function checkTransaction(answers: readonly unknown[]): void {
  const isThere = answers.every((answer) =>
    Array.isArray(answer) || ((answer as { serverStatus: number }).serverStatus & IN_TRANSACTION) !== 0
  );
  if (!isThere) throw new DatabaseError("conflict", "the database has given up a transaction unasked");
}

function resultOf(answer: unknown): Result {
  if (Array.isArray(answer)) return { rows: answer as Row[], insertId: 0 };
  return { rows: [], insertId: (answer as { insertId: number }).insertId };
}
