/** The statements of a transaction, and the check that the server has not abandoned it. */
import { DatabaseError } from "./errors.ts";
import { type Sql, sql } from "./sql.ts";

/**
 * Begins a transaction. Must be the first statement of a {@link MysqlConnection.query}. {@link COMMIT} must
 * be the last one of that query or of a later one; otherwise the transaction is rolled back.
 */
export const BEGIN: Sql = sql`START TRANSACTION`;
/** Commits a transaction; see {@link BEGIN}. */
export const COMMIT: Sql = sql`COMMIT`;
/** Rolls a transaction back. */
export const ROLLBACK: Sql = sql`ROLLBACK`;

/**
 * A member of a replicated group can roll back a transaction between two statements of one round trip. It
 * then runs the remaining statements outside of a transaction. Without autocommit, none of these is committed
 * by itself. The savepoint is lost with its transaction, so that releasing it fails before the commit of an
 * incomplete transaction.
 *
 * A connection changes autocommit only when the next statements need the other value: the connection that
 * appends messages stays without it. A statement after COMMIT would delay the reply to the commit.
 */
export const AUTOCOMMIT_OFF: Sql = sql`SET SESSION autocommit = 0`;
/** See {@link AUTOCOMMIT_OFF}. */
export const AUTOCOMMIT_ON: Sql = sql`SET SESSION autocommit = 1`;
const SAVEPOINT = sql`SAVEPOINT complete`;
const RELEASE_SAVEPOINT = sql`RELEASE SAVEPOINT complete`;

/** The statements to send in place of one statement. */
export const EXPANSIONS: ReadonlyMap<Sql, readonly Sql[]> = new Map([
  [BEGIN, [BEGIN, SAVEPOINT]],
  [COMMIT, [RELEASE_SAVEPOINT, COMMIT]],
]);

/** Statements whose results are not returned to callers. */
export const INTERNAL_STATEMENTS: ReadonlySet<Sql> = new Set([SAVEPOINT, RELEASE_SAVEPOINT]);

/** The bit of the server's status that says that a transaction is open (SERVER_STATUS_IN_TRANS). */
const STATUS_IN_TRANSACTION = 1;

/**
 * Throws if the server has rolled back the transaction by itself. Members of a replicated group report that
 * in the status bit only, and results with rows do not contain it.
 */
export function checkTransaction(replies: readonly unknown[]): void {
  const isOpen = replies.every((reply) =>
    Array.isArray(reply) || ((reply as { serverStatus: number }).serverStatus & STATUS_IN_TRANSACTION) !== 0
  );
  if (!isOpen) throw new DatabaseError("conflict", "the database has rolled back a transaction by itself");
}
