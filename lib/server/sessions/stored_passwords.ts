/**
 * The values in the password column: the forms that the server writes, and values that were written by SQL.
 */
import { BoundedMap } from "../../bounded_map.ts";
import { type Config, options } from "../../config/options.ts";
import type { Log } from "../../log.ts";
import {
  type Argon2idCost,
  type Cost,
  memoryOf,
  parseHash,
  type ScryptCost,
  workOf,
} from "../../passwords/stored_hash.ts";
import { type Account, FOREIGN_HASH_PATTERN, PLAINTEXT_PREFIX } from "../../store/store.ts";
import { FieldLimit } from "../../wire/protocol.ts";

/**
 * Milliseconds between two log lines about one account. Unauthenticated clients can cause them at any rate.
 */
const WARNING_INTERVAL_MS = 60_000;

/** Accounts whose last log line is cached. An evicted one may be logged again sooner. */
const MAX_WARNED = 10_000;

/**
 * The factor by which a hash may exceed the memory, and the work, of the configured cost of its method or of
 * the default one, whichever is more. The operator may have lowered the cost since the hash was made: 8 is
 * three doublings. With the default cost it is 152 MiB and a third of a second for Argon2id, 256 MiB and about
 * two seconds for scrypt, which delays other logins little.
 */
const MAX_COST_RATIO = 8;

/** Characters of the longest value that can be a hash. The server's own hashes have about 90. */
const MAX_HASH_LENGTH = 255;

/** Bytes of a key of 128 bits: a shorter one could match by chance. */
const MIN_KEY_BYTES = 16;

/** A credential that no password matches. Checking it takes as long as checking a hash. */
const NO_HASH = "*";

/** The options of new hashes. */
type NewHashOptions = Pick<Config, "argon2Memory" | "argon2Passes">;

/** The options of the hashes of earlier releases. */
type ScryptOptions = Pick<Config, "scryptLn" | "scryptR" | "scryptP">;

/**
 * The default costs. A very low configured cost, as in tests, must not make usual hashes too expensive.
 */
const DEFAULTS: NewHashOptions & ScryptOptions = {
  argon2Memory: options.argon2Memory.default,
  argon2Passes: options.argon2Passes.default,
  scryptLn: options.scryptLn.default,
  scryptR: options.scryptR.default,
  scryptP: options.scryptP.default,
};

const foreignHash = new RegExp(FOREIGN_HASH_PATTERN, "s");

/** Checks stored passwords before a password is compared with them. */
export class StoredPasswords {
  readonly #log: Pick<Log, "warn">;
  readonly #acceptsPlain: boolean;
  readonly #usualCosts: readonly Cost[];
  readonly #nextWarningAt = new BoundedMap<number, number>(MAX_WARNED);

  constructor(
    log: Pick<Log, "warn">,
    config: NewHashOptions & ScryptOptions & Pick<Config, "acceptPlainPasswords">,
  ) {
    this.#log = log;
    this.#acceptsPlain = config.acceptPlainPasswords === "yes";
    this.#usualCosts = [config, DEFAULTS].flatMap((costs) => [newHashCost(costs), scryptCost(costs)]);
  }

  /**
   * Returns the credential with which a password is compared. Plain text, if it is accepted, gets the prefix
   * that the upgrade writes. The value itself is never logged.
   */
  credentialOf({ id, password }: Account): string {
    if (password.startsWith(PLAINTEXT_PREFIX)) return password;
    const hash = password.length <= MAX_HASH_LENGTH ? parseHash(password) : undefined;
    if (hash && hash.key.length >= MIN_KEY_BYTES) {
      if (this.#isAffordable(hash.cost)) return password;
      const options = hash.cost.method === "scrypt"
        ? "--scrypt-ln, --scrypt-r and --scrypt-p"
        : "--argon2-memory and --argon2-passes";
      this.#warn(id, `its cost is far above that of ${options}: give the user a new password`);
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

  #isAffordable(cost: Cost): boolean {
    const usual = this.#usualCosts.filter(({ method }) => method === cost.method);
    return memoryOf(cost) <= MAX_COST_RATIO * Math.max(...usual.map(memoryOf)) &&
      workOf(cost) <= MAX_COST_RATIO * Math.max(...usual.map(workOf));
  }

  #warn(user: number, help: string): void {
    const now = performance.now();
    if (now < (this.#nextWarningAt.get(user) ?? 0)) return;
    this.#nextWarningAt.set(user, now + WARNING_INTERVAL_MS);
    this.#log.warn("a stored password is not a hash of this server", { user, help });
  }
}

/** Returns the configured cost of new hashes. One lane: a hash is the work of one thread. */
export function newHashCost({ argon2Memory, argon2Passes }: NewHashOptions): Argon2idCost {
  return { method: "argon2id", memory: argon2Memory, passes: argon2Passes, lanes: 1 };
}

/** Returns the cost that hashes of earlier releases had. */
function scryptCost({ scryptLn: ln, scryptR: r, scryptP: p }: ScryptOptions): ScryptCost {
  return { method: "scrypt", ln, r, p };
}
