/**
 * What stands in the place of an account's password: the server's own forms, and what was written there by
 * SQL.
 */
import type { Log } from "../../log.ts";
import { type Cost, PHC_PATTERN } from "../../passwords/password_hasher.ts";
import { type Account, FOREIGN_HASH_PATTERN, PLAINTEXT_PREFIX } from "../../store/store.ts";
import { FieldLimit } from "../../wire/protocol.ts";

/**
 * Milliseconds between two lines in the log about one account, which strangers can try as often as they like.
 */
const WARNING_INTERVAL_MS = 60_000;

/** Accounts that are remembered as told of; then all are forgotten, which costs some lines. */
const MAX_WARNED = 10_000;

/**
 * A hash may take so many times the memory, and the time, of one at the configured cost or at
 * {@link DEFAULT_COST}, if that is more. The operator may have lowered the cost since it was made: 8 is three
 * steps of scrypt's `ln`. With the default cost it is 256 MiB and about two seconds, which one thread can
 * spend without others waiting much longer.
 */
const MAX_COST_RATIO = 8;

/**
 * The options' default, so that a cost that was made very low, as for tests, makes no other hash too dear.
 */
const DEFAULT_COST: Cost = { ln: 15, r: 8, p: 3 };

/** Characters of the longest value that is read as a hash; the server's own have about 90. */
const MAX_HASH_LENGTH = 255;

/** Base64 digits of 128 bits: shorter keys could be hit by chance. */
const MIN_KEY_DIGITS = 22;

/** What no password is checked against: takes the time of a check all the same. */
const NO_HASH = "*";

const foreignHash = new RegExp(FOREIGN_HASH_PATTERN, "s");

/** Looks at what is stored as passwords before they are checked. */
export class StoredPasswords {
  readonly #log: Pick<Log, "warn">;
  readonly #acceptsPlain: boolean;
  readonly #maxMemoryBytes: number;
  readonly #maxTime: number;
  readonly #nextWarningAt = new Map<number, number>();

  /** `cost` is the configured one. */
  constructor(log: Pick<Log, "warn">, acceptsPlain: boolean, cost: Cost) {
    this.#log = log;
    this.#acceptsPlain = acceptsPlain;
    this.#maxMemoryBytes = MAX_COST_RATIO * Math.max(memoryOf(cost), memoryOf(DEFAULT_COST));
    this.#maxTime = MAX_COST_RATIO * Math.max(timeOf(cost), timeOf(DEFAULT_COST));
  }

  /**
   * What a password is to be checked against. Plain text that is accepted is marked as the upgrade marks it.
   * The value itself is never logged.
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
    if (this.#nextWarningAt.size >= MAX_WARNED) this.#nextWarningAt.clear();
    this.#nextWarningAt.set(user, now + WARNING_INTERVAL_MS);
    this.#log.warn("stored password is not a hash of the server's", { user, help });
  }
}

/** The cost of a hash; undefined where scrypt has no such cost (RFC 7914, section 6). */
function costOf(hash: RegExpExecArray): Cost | undefined {
  const [ln, r, p] = hash.slice(1, 4).map(Number) as [number, number, number];
  return ln >= 1 && r >= 1 && p >= 1 && ln < 16 * r ? { ln, r, p } : undefined;
}

/** Bytes. */
function memoryOf({ ln, r, p }: Cost): number {
  return 128 * r * (2 ** ln + p);
}

/** In units of about 0.4 µs. */
function timeOf({ ln, r, p }: Cost): number {
  return 2 ** ln * r * p;
}
