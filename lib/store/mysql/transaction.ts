/** The statements of a transaction, and the check that the server has not abandoned it. */
import { DatabaseError } from "./errors.ts";
import { type Sql, sql } from "./sql.ts";

/**
 * Begins a transaction. In the first place of a {@link MysqlConnection.query}; {@link COMMIT} in the last place of that one or
 * a later one ends it, or else it is rolled back.
 */
export const BEGIN: Sql = sql`START TRANSACTION`;
/** Commits a transaction; see {@link BEGIN}. */
export const COMMIT: Sql = sql`COMMIT`;
/** Rolls a transaction back. */
export const ROLLBACK: Sql = sql`ROLLBACK`;

/**
 * A member of a replicated group can give up a transaction between two statements of one round trip, and carry out those
 * that follow outside of it. So these are not committed each by itself; and a savepoint, which is gone with the
 * transaction that it was set in, stops at the end what is not whole.
 */
const AUTOCOMMIT_OFF = sql`SET SESSION autocommit = 0`;
const AUTOCOMMIT_ON = sql`SET SESSION autocommit = 1`;
const SAVEPOINT = sql`SAVEPOINT whole`;
const RELEASE_SAVEPOINT = sql`RELEASE SAVEPOINT whole`;

/** What is sent in the place of a statement. */
export const EXPANSIONS: ReadonlyMap<Sql, readonly Sql[]> = new Map([
  [BEGIN, [AUTOCOMMIT_OFF, BEGIN, SAVEPOINT]],
  [COMMIT, [RELEASE_SAVEPOINT, COMMIT, AUTOCOMMIT_ON]],
  [ROLLBACK, [ROLLBACK, AUTOCOMMIT_ON]],
]);

/** Statements whose answers callers don't see. */
export const INTERNAL_STATEMENTS: ReadonlySet<Sql> = new Set([
  AUTOCOMMIT_OFF,
  AUTOCOMMIT_ON,
  SAVEPOINT,
  RELEASE_SAVEPOINT,
]);

/** The bit in the server's status that says that there is a transaction; a part of its protocol. */
const STATUS_IN_TRANSACTION = 1;

/**
 * Throws if the server has given the transaction up by itself and says so in nothing but a bit, as members of a
 * replicated group can. Answers of rows don't show it.
 */
export function checkTransaction(answers: readonly unknown[]): void {
  const isThere = answers.every((answer) =>
    Array.isArray(answer) || ((answer as { serverStatus: number }).serverStatus & STATUS_IN_TRANSACTION) !== 0
  );
  if (!isThere) throw new DatabaseError("conflict", "the database has given up a transaction unasked");
}
