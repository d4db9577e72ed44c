/** What the driver's errors mean for those who called, without what they show of statements and of users' data. */
import { StoreUnavailableError } from "../store.ts";

/**
 * What follows from an error:
 * - `lost`: the connection is gone; whether the statement was carried out isn't known
 * - `conflict`: another transaction was in the way; nothing was done, and the same again may succeed
 * - `locked`: the same, and it has been waited for
 * - `duplicate`: a key is there already
 * - `refused`: the server takes no statements of this kind now, or none at all
 * - `silent`: no answer came in time; whether the statement was carried out, or will be, isn't known
 * - `bad`: the server doesn't take this statement, because of what is in it
 */
export type ErrorKind = "lost" | "conflict" | "locked" | "duplicate" | "refused" | "silent" | "bad";

/** An error of the database's. It says what is wrong with the database, and nothing of what it was asked. */
export class DatabaseError extends StoreUnavailableError {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}

/** The server is set up so that it must not be written to. Another connection would find the same. */
export class UnsafeServerError extends DatabaseError {
  constructor(message: string) {
    super("refused", message);
  }
}

/** An error of a commit, in whose text the storage engine's own number stands. */
const ERROR_DURING_COMMIT = 1_180;
/** The storage engine's number for a transaction that another member's was in the way of, in a replicated group. */
const ENGINE_DEADLOCK = /\b149\b/;

/** The server takes no connections without TLS. */
const TLS_REQUIRED = 3_159;
/** The name or the password is wrong, or the account may only be used by TLS: the server tells them not apart. */
const ACCESS_DENIED = 1_045;

/** The driver's code for a server that offers no TLS. */
const NO_TLS_OFFERED = "HANDSHAKE_NO_SSL_SUPPORT";

/** What the runtime says of a server's certificate: it tells kinds apart by words only. */
const NAME_MISMATCH = /does not match certificate|altnames/i;
const UNTRUSTED = /certificate|self.signed/i;

const TLS_HINT = "mysqls:// or --mysql-ca makes the connections TLS";

/** The server's error numbers, the same on MySQL and MariaDB. All others are of a server that isn't well: `refused`. */
const ERROR_KINDS: ReadonlyMap<number, ErrorKind> = new Map<number, ErrorKind>([
  [1_062, "duplicate"], // duplicate entry for a key

  [1_020, "conflict"], // record has changed since it was read
  [1_205, "locked"], // lock wait timeout
  [1_213, "conflict"], // deadlock
  [1_305, "conflict"], // no such savepoint: the transaction that it was set in was given up
  [1_317, "conflict"], // an operator's KILL QUERY
  [3_101, "conflict"], // group replication: another member's transaction came first

  [1_053, "lost"], // shutdown in progress
  [1_152, "lost"], // aborted connection
  [1_184, "lost"], // the same, of a new one
  [1_927, "lost"], // an operator's KILL on MariaDB
  [3_169, "lost"], // the same on MySQL
  [4_031, "lost"], // idle for longer than wait_timeout, on MySQL

  [1_048, "bad"], // NULL in a column that must not be
  [1_054, "bad"], // unknown column
  [1_064, "bad"], // syntax
  [1_136, "bad"], // as many values as columns
  [1_153, "bad"], // longer than max_allowed_packet
  [1_264, "bad"], // out of range
  [1_265, "bad"], // cut
  [1_292, "bad"], // wrong value
  [1_300, "bad"], // not of the character set
  [1_366, "bad"], // the same, of a column
  [1_406, "bad"], // too long
]);

/** Made of whatever the driver or the system throws. */
export function toDatabaseError(error: unknown): DatabaseError {
  if (error instanceof DatabaseError) return error;
  const { errno, code, sqlState, sqlMessage, message } = error as DriverError;
  if (typeof errno !== "number" || sqlState === undefined) {
    return new DatabaseError("lost", "the database can't be reached", { cause: error });
  }
  const isEngineDeadlock = errno === ERROR_DURING_COMMIT && ENGINE_DEADLOCK.test(sqlMessage ?? message);
  const kind = isEngineDeadlock ? "conflict" : ERROR_KINDS.get(errno) ?? "refused";
  // Messages about statements quote them, or the values in them; those about the server's state don't.
  const detail = kind === "lost" || kind === "refused"
    ? `: ${(sqlMessage ?? message).replace(/\s+/g, " ")}`
    : "";
  return new DatabaseError(kind, "the database gave up", {
    cause: new Error(`${code ?? "error"} (${errno})${detail}`),
  });
}

/**
 * As {@link toDatabaseError}, of a connection that is being made to `host`; and says when what is wrong can be the lack of
 * TLS, or the server's certificate.
 */
export function toConnectError(
  error: unknown,
  isTls: boolean,
  isTlsOffered: boolean,
  host: string,
): DatabaseError {
  const { errno, code } = error as DriverError;
  const wrapped = toDatabaseError(error);
  const unavailable = (words: string) => new DatabaseError("refused", words, { cause: wrapped.cause });
  if (code === NO_TLS_OFFERED) {
    return unavailable("the server offers no TLS, and without it no connection is made");
  }
  if (isTls) return toCertificateError(error as DriverError, host) ?? wrapped;
  if (errno === TLS_REQUIRED) return unavailable(`the server demands TLS; ${TLS_HINT}`);
  if (errno === ACCESS_DENIED && isTlsOffered) {
    return unavailable(`the server demands TLS of this account, or name or password is wrong (${TLS_HINT})`);
  }
  return wrapped;
}

/** What is wrong with the server's certificate, if that is what the error is about. */
function toCertificateError(
  { message, sqlState, cert }: DriverError,
  host: string,
): DatabaseError | undefined {
  if (sqlState !== undefined) return undefined; // the server itself said it, over TLS
  if (NAME_MISMATCH.test(message)) {
    const names = cert?.subjectaltname ?? cert?.subject?.CN;
    return new DatabaseError(
      "lost",
      `the server's certificate is not for ${host}${names ? `, but for ${names}` : ""}: ` +
        "the URL must name the server as its certificate does",
    );
  }
  if (!UNTRUSTED.test(message)) return undefined;
  return new DatabaseError(
    "lost",
    `the server's certificate is not trusted (${
      message.replace(/\s+/g, " ")
    }): --mysql-ca must name the file of the ` +
      "authority that issued it, and neither certificate may have expired",
  );
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
  /** The server's certificate, if its name is not the host's. */
  readonly cert?: { readonly subjectaltname?: string; readonly subject?: { readonly CN?: string } };
}
