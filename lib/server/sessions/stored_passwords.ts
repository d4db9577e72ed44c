/**
 * The values in the password column: the forms that the server writes, and values that were written by SQL.
 */
import { BoundedMap } from "../../bounded_map.ts";
import { options } from "../../config/options.ts";
import type { Log } from "../../log.ts";
import { type Cost, PHC_PATTERN } from "../../passwords/password_hasher.ts";
import { type Account, FOREIGN_HASH_PATTERN, PLAINTEXT_PREFIX } from "../../store/store.ts";
import { FieldLimit } from "../../wire/protocol.ts";

/**
 * Milliseconds between two log lines about one account. Unauthenticated clients can cause them at any rate.
 */
const WARNING_INTERVAL_MS = 60_000;

/** Accounts whose last log line is cached. An evicted one may be logged again sooner. */
const MAX_WARNED = 10_000;

/**
 * The factor by which a hash may exceed the memory, and the time, of the configured cost or of {@link
 * DEFAULT_COST}, whichever is more. The operator may have lowered the cost since the hash was made: 8 is
 * three steps of scrypt's `ln`. With the default cost it is 256 MiB and about two seconds, which delays other
 * logins little.
 */
const MAX_COST_RATIO = 8;

/**
 * The default of the options. A very low configured cost, as in tests, must not make usual hashes too
 * expensive.
 */
const DEFAULT_COST: Cost = {
  ln: options.scryptLn.default,
  r: options.scryptR.default,
  p: options.scryptP.default,
};

/** Characters of the longest value that can be a hash. The server's own hashes have about 90. */
const MAX_HASH_LENGTH = 255;

/** Base64 digits of 128 bits: a shorter key could match by chance. */
const MIN_KEY_DIGITS = 22;

/** A credential that no password matches. Checking it takes as long as any other. */
const NO_HASH = "*";

const foreignHash = new RegExp(FOREIGN_HASH_PATTERN, "s");

/** Checks stored passwords before a password is compared with them. */
export class StoredPasswords {
  readonly #log: Pick<Log, "warn">;
  readonly #acceptsPlain: boolean;
  readonly #maxMemoryBytes: number;
  readonly #maxTime: number;
  readonly #nextWarningAt = new BoundedMap<number, number>(MAX_WARNED);

  /** `cost` is the configured cost. */
  constructor(log: Pick<Log, "warn">, acceptsPlain: boolean, cost: Cost) {
    this.#log = log;
    this.#acceptsPlain = acceptsPlain;
    this.#maxMemoryBytes = MAX_COST_RATIO * Math.max(memoryOf(cost), memoryOf(DEFAULT_COST));
    this.#maxTime = MAX_COST_RATIO * Math.max(timeOf(cost), timeOf(DEFAULT_COST));
  }

  /**
   * Returns the credential with which a password is compared. Plain text, if it is accepted, gets the prefix
   * that the upgrade writes. The value itself is never logged.
   */
  credentialOf({ id, password }: Account): string {
    if (password.startsWith(PLAINTEXT_PREFIX)) return password;
    const hash = PHC_PATTERN.exec(password);
    const cost = hash && costOf(hash);
    if (hash && cost && password.length <= MAX_HASH_LENGTH && hash[5]!.length >= MIN_KEY_DIGITS) {
      if (memoryOf(cost) <= this.#maxMemoryBytes && timeOf(cost) <= this.#maxTime) return password;
      this.#warn(
        id,
        "its cost is far above that of --scrypt-ln, --scrypt-r and --scrypt-p: give the user a new password",
      );
      return NO_HASH;
    }
    if (foreignHash.test(password)) {
      this.#warn(id, "another program's hash cannot be checked: give the user a new password");
      return NO_HASH;
    }
    if (password === "" || [...password].length > FieldLimit.PASSWORD) {
      this.#warn(id, `a password has 1 to ${FieldLimit.PASSWORD} characters: give the user a new one`);
      return NO_HASH;
    }
    this.#warn(
      id,
      this.#acceptsPlain
        ? "the right password logs in, and is hashed then"
        : "start the server with --accept-plain-passwords to take it as plain text",
    );
    return this.#acceptsPlain ? PLAINTEXT_PREFIX + password : NO_HASH;
  }

  #warn(user: number, help: string): void {
    const now = performance.now();
    if (now < (this.#nextWarningAt.get(user) ?? 0)) return;
    this.#nextWarningAt.set(user, now + WARNING_INTERVAL_MS);
    this.#log.warn("a stored password is not a hash of this server", { user, help });
  }
}

/** Returns the cost of a hash, or undefined if scrypt has no such cost (RFC 7914, section 6). */
function costOf(hash: RegExpExecArray): Cost | undefined {
  const [ln, r, p] = hash.slice(1, 4).map(Number) as [number, number, number];
  return ln >= 1 && r >= 1 && p >= 1 && ln < 16 * r ? { ln, r, p } : undefined;
}

/** Returns the memory of a hash in bytes. */
function memoryOf({ ln, r, p }: Cost): number {
  return 128 * r * (2 ** ln + p);
}

/** Returns the time of a hash in units of about 0.4 µs. */
function timeOf({ ln, r, p }: Cost): number {
  return 2 ** ln * r * p;
}
