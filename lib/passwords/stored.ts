/** What stands in the place of an account's password: the server's own forms, and what was written there by SQL. */
import type { Log } from "../log.ts";
import { type Account, PLAIN } from "../store/store.ts";
import { PHC } from "./passwords.ts";

/** Hex digits of MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512. */
const HEX = [32, 40, 56, 64, 96, 128].map((length) => `[0-9a-fA-F]{${length}}`).join("|");

/** How hashes begin that carry their method in front, as crypt(3) and PHC write them. */
const MARKED = "[$](1|2[abxy]?|5|6|7|y|scrypt|argon2[a-z]*|pbkdf2[-a-z0-9]*)[$]";

/** What hashes of other programs look like, for JavaScript and MySQL alike: taken for plain text, they would log in. */
export const FOREIGN_HASH = `^((0x)?(${HEX})|[*][0-9a-fA-F]{40}|${MARKED}.*)$`;

/** Milliseconds between two lines in the log about one account, which strangers can try as often as they like. */
const NOTICE_INTERVAL_MS = 60_000;

/** Accounts that are remembered as told of; then all are forgotten, which costs some lines. */
const MAX_NOTICED = 10_000;

const foreignHash = new RegExp(FOREIGN_HASH, "s");

/** Looks at what is stored as passwords before they are checked. */
export class StoredPasswords {
  readonly #log: Pick<Log, "warn">;
  readonly #acceptsPlain: boolean;
  readonly #noticed = new Map<number, number>();

  constructor(log: Pick<Log, "warn">, acceptsPlain: boolean) {
    this.#log = log;
    this.#acceptsPlain = acceptsPlain;
  }

  /**
   * What a password is to be checked against. Plain text that is accepted is marked as the upgrade marks it. The value
   * itself is never logged.
   */
  of({ id, password }: Account): string {
    if (PHC.test(password) || password.startsWith(PLAIN)) return password;
    const isPlain = !foreignHash.test(password);
    this.#notice(id, isPlain);
    return isPlain && this.#acceptsPlain ? PLAIN + password : password;
  }

  #notice(user: number, isPlain: boolean): void {
    const now = performance.now();
    if (now < (this.#noticed.get(user) ?? 0)) return;
    if (this.#noticed.size >= MAX_NOTICED) this.#noticed.clear();
    this.#noticed.set(user, now + NOTICE_INTERVAL_MS);
    const help = !isPlain
      ? "another program's hash cannot be checked: give the user a new password"
      : this.#acceptsPlain
      ? "the right password logs in, and is hashed then"
      : "start the server with --accept-plain-passwords to take it as plain text";
    this.#log.warn("stored password is not hashed by the server", { user, help });
  }
}
