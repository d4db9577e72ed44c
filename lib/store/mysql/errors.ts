/** Converts errors of the driver. The result contains no statements and no data of users. */
import { StoreUnavailableError } from "../store.ts";

/**
 * The consequence of an error:
 * - `connection_lost`: the connection is broken, and the statement may have run
 * - `conflict`: another transaction conflicted; nothing was done, and a retry may succeed
 * - `locked`: as `conflict`, after waiting for a lock
 * - `duplicate`: a unique key exists already
 * - `unavailable`: the server accepts no such statements at present, or none at all
 * - `timeout`: the reply did not come in time; the statement may have run, or may still run
 * - `invalid`: the server rejects the content of this statement
 */
export type ErrorKind =
  | "connection_lost"
  | "conflict"
  | "locked"
  | "duplicate"
  | "unavailable"
  | "timeout"
  | "invalid";

/** An error of the database. Its text describes the state of the database, and not the statement. */
export class DatabaseError extends StoreUnavailableError {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** The server's configuration makes writing unsafe. Another connection would have the same result. */
export class UnsafeServerError extends DatabaseError {
  constructor(message: string) {
    super("unavailable", message);
  }
}

/** An error during a commit. Its text has the error number of the storage engine. */
const ERROR_DURING_COMMIT = 1_180;
/** The storage engine's number for a conflict with another member of a replicated group. */
const ENGINE_DEADLOCK = /\b149\b/;

/** The server requires TLS. */
const TLS_REQUIRED = 3_159;
/** Name or password is wrong, or the account requires TLS. The server does not distinguish them. */
const ACCESS_DENIED = 1_045;

/** The driver's code for a server without TLS. */
const NO_TLS_OFFERED = "HANDSHAKE_NO_SSL_SUPPORT";

/** The runtime's messages about a server's certificate, which have no codes. */
const NAME_MISMATCH = /does not match certificate|altnames/i;
const UNTRUSTED = /certificate|self.signed/i;

const TLS_HINT = "mysqls:// or --mysql-ca turns TLS on";

/**
 * The server's error numbers, which MySQL and MariaDB share. All other numbers mean that the server has a
 * problem: `unavailable`.
 */
const ERROR_KINDS: ReadonlyMap<number, ErrorKind> = new Map<number, ErrorKind>([
  [1_062, "duplicate"], // duplicate entry for a key

  [1_020, "conflict"], // the record has changed since it was read
  [1_205, "locked"], // lock wait timeout
  [1_213, "conflict"], // deadlock
  [1_305, "conflict"], // no such savepoint: its transaction was rolled back
  [1_317, "conflict"], // an operator ran KILL QUERY
  [3_101, "conflict"], // group replication: the transaction of another member was first

  [1_053, "connection_lost"], // shutdown in progress
  [1_152, "connection_lost"], // aborted connection
  [1_184, "connection_lost"], // the same, for a new connection
  [1_927, "connection_lost"], // an operator ran KILL on MariaDB
  [3_169, "connection_lost"], // an operator ran KILL on MySQL
  [4_031, "connection_lost"], // idle for longer than wait_timeout, on MySQL

  [1_048, "invalid"], // NULL in a NOT NULL column
  [1_054, "invalid"], // unknown column
  [1_064, "invalid"], // syntax error
  [1_136, "invalid"], // another number of values than columns
  [1_153, "invalid"], // longer than max_allowed_packet
  [1_264, "invalid"], // out of range
  [1_265, "invalid"], // truncated value
  [1_292, "invalid"], // wrong value
  [1_300, "invalid"], // invalid bytes for the character set
  [1_366, "invalid"], // the same, for a column
  [1_406, "invalid"], // value too long
]);

/** Converts an error of the driver or the system. */
export function toDatabaseError(error: unknown): DatabaseError {
  if (error instanceof DatabaseError) return error;
  const { errno, code, sqlState, sqlMessage, message } = error as DriverError;
  if (typeof errno !== "number" || sqlState === undefined) {
    return new DatabaseError("connection_lost", "the database is unreachable", { cause: error });
  }
  const isEngineDeadlock = errno === ERROR_DURING_COMMIT && ENGINE_DEADLOCK.test(sqlMessage ?? message);
  const kind = isEngineDeadlock ? "conflict" : ERROR_KINDS.get(errno) ?? "unavailable";
  // Errors about a statement quote it or its values. Errors about the server's state do not.
  const detail = kind === "connection_lost" || kind === "unavailable"
    ? `: ${(sqlMessage ?? message).replace(/\s+/g, " ")}`
    : "";
  return new DatabaseError(kind, "the database failed", {
    cause: new Error(`${code ?? "error"} (${errno})${detail}`),
  });
}

/**
 * Converts an error of connecting to `host`. The result says if the cause may be the lack of TLS, or the
 * server's certificate.
 */
export function toConnectError(
  error: unknown,
  isTls: boolean,
  isTlsOffered: boolean,
  host: string,
): DatabaseError {
  const { errno, code } = error as DriverError;
  const wrapped = toDatabaseError(error);
  const unavailable = (text: string) => new DatabaseError("unavailable", text, { cause: wrapped.cause });
  if (code === NO_TLS_OFFERED) {
    return unavailable("the server does not support TLS, which the configuration requires");
  }
  if (isTls) return toCertificateError(error as DriverError, host) ?? wrapped;
  if (errno === TLS_REQUIRED) return unavailable(`the server requires TLS; ${TLS_HINT}`);
  if (errno === ACCESS_DENIED && isTlsOffered) {
    return unavailable(`name or password is wrong, or the account requires TLS (${TLS_HINT})`);
  }
  return wrapped;
}

/**
 * Returns an error that describes the problem with the server's certificate, or undefined for any other
 * problem.
 */
function toCertificateError(
  { message, sqlState, cert }: DriverError,
  host: string,
): DatabaseError | undefined {
  if (sqlState !== undefined) return undefined; // an error of the server itself, received over TLS
  if (NAME_MISMATCH.test(message)) {
    const names = cert?.subjectaltname ?? cert?.subject?.CN;
    return new DatabaseError(
      "connection_lost",
      `the server's certificate is not for ${host}${names ? `, but for ${names}` : ""}: ` +
        "use the name of the certificate in the URL",
    );
  }
  if (!UNTRUSTED.test(message)) return undefined;
  return new DatabaseError(
    "connection_lost",
    `the server's certificate is not trusted (${
      message.replace(/\s+/g, " ")
    }): set --mysql-ca to the file of the ` +
      "authority that issued it; neither certificate may have expired",
  );
}

/** Returns the messages of an error and its causes, in one line. */
export function reasonOf(error: unknown): string {
  const parts: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) parts.push(at.message.replace(/\s+/g, " "));
  return parts.join(": ");
}

/** An Error of the driver. An error of the server has a positive number and an SQL state. */
interface DriverError extends Error {
  readonly errno?: number;
  readonly code?: string;
  readonly sqlState?: string;
  readonly sqlMessage?: string;
  /** The server's certificate, if it does not name the host. */
  readonly cert?: { readonly subjectaltname?: string; readonly subject?: { readonly CN?: string } };
}
