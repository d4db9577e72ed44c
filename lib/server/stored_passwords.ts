/** What stands in the place of an account's password: the server's own forms, and what was written there by SQL. */
import type { Log } from "../log.ts";
import { PHC } from "../passwords/passwords.ts";
import { type Account, FOREIGN_HASH, PLAIN } from "../store/store.ts";

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
