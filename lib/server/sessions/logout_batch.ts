/** Gathers the ends of logins on their way to the store, where `User.state` follows from them. */
import { describe, type Log } from "../../log.ts";
import type { Login, Store } from "../../store/store.ts";

const AT_ONCE = 1_000; // ends written together
const MOST = 100_000; // ends waiting while the store is away; what is over that, a later sweep makes right
const RETRY = 1_000; // ms until the store is tried again

/** Logins that have ended and are not written yet. */
export class Departures {
  readonly #store: Store;
  readonly #log: Log;
  readonly #most: number;
  readonly #waiting: Login[] = [];
  #failing = false; // the log has been told
  #history = 0; // counts calls of clear
  #writing: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  /** At most `most` ends wait for a store that is away, the latest of all. */
  constructor(store: Store, log: Log, most = MOST) {
    this.#store = store;
    this.#log = log;
    this.#most = most;
  }

  /** Notes that a login has ended. */
  add(login: Login): void {
    if (this.#waiting.length >= this.#most) this.#waiting.shift();
    this.#waiting.push(login);
    if (this.#retry === undefined) void this.#start();
  }

  /** Forgets all: the store's history is another one. What is being written is not tried again. */
  clear(): void {
    this.#waiting.length = 0;
    this.#history++;
  }

  /** Writes what waits, as far as the store lets it, and tries no further. Never rejects. */
  async flush(): Promise<void> {
    await this.#writing;
    await this.#start();
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  #start(): Promise<void> {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    return this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#waiting.length > 0 && this.#retry === undefined) void this.#start();
    });
  }

  async #write(): Promise<void> {
    await undefined; // those of one turn go together
    while (this.#waiting.length > 0) {
      const logins = this.#waiting.splice(0, AT_ONCE);
      const history = this.#history;
      try {
        await this.#store.endLogins(logins.map(({ user, login }) => ({ user, login })));
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) {
          this.#log.warn("ends of logins not stored yet", { count: logins.length, why: describe(error) });
        }
        this.#failing = true;
        if (history === this.#history) this.#waiting.unshift(...logins);
        this.#retry = setTimeout(() => this.#start(), RETRY);
        return;
      }
    }
  }
}
