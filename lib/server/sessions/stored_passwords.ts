/**
 * What stands in the place of an account's password: the server's own forms, and what was written there by
 * SQL.
 */
import type { Log } from "../../log.ts";
import { type Cost, PHC } from "../../passwords/password_hasher.ts";
import { type Account, FOREIGN_HASH, PLAIN } from "../../store/store.ts";
import { Limit } from "../../wire/protocol.ts";

/**
 * Milliseconds between two lines in the log about one account, which strangers can try as often as they like.
 */
const NOTICE_INTERVAL_MS = 60_000;

/** Accounts that are remembered as told of; then all are forgotten, which costs some lines. */
const MAX_NOTICED = 10_000;

/**
 * A hash may take so many times the memory, and the time, of one at the configured cost or at
 * {@link COMMON_COST}, if that is more. The operator may have lowered the cost since it was made: 8 is three
 * steps of scrypt's `ln`. With the default cost it is 256 MiB and about two seconds, which one thread can
 * spend without others waiting much longer.
 */
const MAX_COST_RATIO = 8;

/**
 * The options' default, so that a cost that was made very low, as for tests, makes no other hash too dear.
 */
const COMMON_COST: Cost = { ln: 15, r: 8, p: 3 };

/** Characters of the longest value that is read as a hash; the server's own have about 90. */
const MAX_HASH_LENGTH = 255;

/** Base64 digits of 128 bits: shorter keys could be hit by chance. */
const MIN_KEY_DIGITS = 22;

/** What no password is checked against: takes the time of a check all the same. */
const NO_HASH = "*";

const foreignHash = new RegExp(FOREIGN_HASH, "s");

/** Looks at what is stored as passwords before they are checked. */
export class StoredPasswords {
  readonly #log: Pick<Log, "warn">;
  readonly #acceptsPlain: boolean;
  readonly #maxMemory: number;
  readonly #maxTime: number;
  readonly #noticed = new Map<number, number>();

  /** `cost` is the configured one. */
  constructor(log: Pick<Log, "warn">, acceptsPlain: boolean, cost: Cost) {
    this.#log = log;
    this.#acceptsPlain = acceptsPlain;
    this.#maxMemory = MAX_COST_RATIO * Math.max(memoryOf(cost), memoryOf(COMMON_COST));
    this.#maxTime = MAX_COST_RATIO * Math.max(timeOf(cost), timeOf(COMMON_COST));
  }

  /**
   * What a password is to be checked against. Plain text that is accepted is marked as the upgrade marks it.
   * The value itself is never logged.
   */
  of({ id, password }: Account): string {
    if (password.startsWith(PLAIN)) return password;
    const hash = PHC.exec(password);
    const cost = hash && costOf(hash);
    if (hash && cost && password.length <= MAX_HASH_LENGTH && hash[5]!.length >= MIN_KEY_DIGITS) {
      if (memoryOf(cost) <= this.#maxMemory && timeOf(cost) <= this.#maxTime) return password;
      this.#notice(
        id,
        "its cost is far above that of --scrypt-ln, --scrypt-r and --scrypt-p: give the user a new password",
      );
      return NO_HASH;
    }
    if (foreignHash.test(password)) {
      this.#notice(id, "another program's hash cannot be checked: give the user a new password");
      return NO_HASH;
    }
    if (password === "" || [...password].length > Limit.PASSWORD) {
      this.#notice(id, `a password has 1 to ${Limit.PASSWORD} characters: give the user a new one`);
      return NO_HASH;
    }
    this.#notice(
      id,
      this.#acceptsPlain
        ? "the right password logs in, and is hashed then"
        : "start the server with --accept-plain-passwords to take it as plain text",
    );
    return this.#acceptsPlain ? PLAIN + password : NO_HASH;
  }

  #notice(user: number, help: string): void {
    const now = performance.now();
    if (now < (this.#noticed.get(user) ?? 0)) return;
    if (this.#noticed.size >= MAX_NOTICED) this.#noticed.clear();
    this.#noticed.set(user, now + NOTICE_INTERVAL_MS);
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
