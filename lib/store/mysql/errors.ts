/** What the driver's errors mean for those who called, without what they show of statements and of users' data. */
import { StoreUnavailable } from "../store.ts";

/**
 * What follows from an error:
 * - `lost`: the connection is gone, or so slow that it was given up; whether the statement was carried out isn't known
 * - `conflict`: another transaction was in the way; nothing was done, and the same again may succeed
 * - `duplicate`: a key is there already
 * - `refused`: the server takes no statements of this kind now, or none at all
 * - `bad`: the server doesn't take this statement, because of what is in it
 */
export type Kind = "lost" | "conflict" | "duplicate" | "refused" | "bad";

/** An error of the database's. It says what is wrong with the database, and nothing of what it was asked. */
export class DatabaseError extends StoreUnavailable {
  readonly kind: Kind;

  constructor(kind: Kind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** The server's error numbers that don't mean that a statement is bad. They are the same on MySQL and MariaDB. */
const KINDS: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [1_062, "duplicate"], // duplicate entry for a key

  [1_020, "conflict"], // record has changed since it was read
  [1_205, "conflict"], // lock wait timeout
  [1_213, "conflict"], // deadlock
  [1_317, "conflict"], // an operator's KILL QUERY
  [3_101, "conflict"], // group replication: another member's transaction came first

  [1_053, "lost"], // shutdown in progress
  [1_152, "lost"], // aborted connection
  [1_184, "lost"], // the same, of a new one
  [1_927, "lost"], // an operator's KILL on MariaDB
  [3_169, "lost"], // the same on MySQL
  [4_031, "lost"], // idle for longer than wait_timeout, on MySQL

  [1_021, "refused"], // disk full
  [1_037, "refused"], // out of memory
  [1_040, "refused"], // too many connections
  [1_041, "refused"], // out of memory
  [1_044, "refused"], // access denied to the database
  [1_045, "refused"], // access denied
  [1_047, "refused"], // a cluster's node that is cut off from the others
  [1_049, "refused"], // unknown database
  [1_114, "refused"], // table full: the disk is, mostly
  [1_129, "refused"], // host blocked after connection errors
  [1_130, "refused"], // host not allowed
  [1_142, "refused"], // command denied on a table
  [1_146, "refused"], // no such table
  [1_203, "refused"], // the account has too many connections
  [1_226, "refused"], // the account has used up something
  [1_290, "refused"], // read-only
  [1_637, "refused"], // too many transactions
  [1_665, "refused"], // the binary log can't take it
  [1_792, "refused"], // read-only transaction
  [1_836, "refused"], // read-only mode
  [1_969, "refused"], // max_statement_time
  [3_024, "refused"], // max_execution_time
]);

/** Made of whatever the driver or the system throws. */
export function databaseError(error: unknown): DatabaseError {
  if (error instanceof DatabaseError) return error;
  const { errno, code, sqlState, sqlMessage, message } = error as DriverError;
  if (typeof errno !== "number" || sqlState === undefined) {
    return new DatabaseError("lost", "the database can't be reached", { cause: error });
  }
  const kind = KINDS.get(errno) ?? "bad";
  // Messages about statements quote them, or the values in them; those about the server's state don't.
  const told = kind === "lost" || kind === "refused"
    ? `: ${(sqlMessage ?? message).replace(/\s+/g, " ")}`
    : "";
  return new DatabaseError(kind, "the database gave up", {
    cause: new Error(`${code ?? "error"} (${errno})${told}`),
  });
}

/** An error's message and those of its causes, in one line. */
export function reasonOf(error: unknown): string {
  const parts: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) parts.push(at.message.replace(/\s+/g, " "));
  return parts.join(": ");
}

/** An Error of the driver's. Of the server's own errors the number is positive, and there is an SQL state. */
interface DriverError extends Error {
  readonly errno?: number;
  readonly code?: string;
  readonly sqlState?: string;
  readonly sqlMessage?: string;
}
