/** Gathers the ends of logins on their way to the store, where `User.state` follows from them. */
import { describeError, type Log } from "../../log.ts";
import type { Login, Store } from "../../store/store.ts";

const BATCH_SIZE = 1_000; // ends written together
const MAX_PENDING = 100_000; // ends waiting while the store is away; what is over that, a later sweep makes right
const RETRY_MS = 1_000; // ms until the store is tried again

/** Logins that have ended and are not written yet. */
export class LogoutBatch {
  readonly #store: Store;
  readonly #log: Log;
  readonly #maxPending: number;
  readonly #pending: Login[] = [];
  #failing = false; // the log has been told
  #generation = 0; // counts calls of clear
  #writing: Promise<void> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;

  /** At most `most` ends wait for a store that is away, the latest of all. */
  constructor(store: Store, log: Log, maxPending = MAX_PENDING) {
    this.#store = store;
    this.#log = log;
    this.#maxPending = maxPending;
  }

  /** Notes that a login has ended. */
  add(login: Login): void {
    if (this.#pending.length >= this.#maxPending) this.#pending.shift();
    this.#pending.push(login);
    if (this.#retryTimer === undefined) void this.#start();
  }

  /** Forgets all: the store's history is another one. What is being written is not tried again. */
  clear(): void {
    this.#pending.length = 0;
    this.#generation++;
  }

  /** Writes what waits, as far as the store lets it, and tries no further. Never rejects. */
  async flush(): Promise<void> {
    await this.#writing;
    await this.#start();
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
  }

  #start(): Promise<void> {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    return this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#pending.length > 0 && this.#retryTimer === undefined) void this.#start();
    });
  }

  async #write(): Promise<void> {
    await undefined; // those of one turn go together
    while (this.#pending.length > 0) {
      const logins = this.#pending.splice(0, BATCH_SIZE);
      const generation = this.#generation;
      try {
        await this.#store.releaseAccounts(logins.map(({ user, loginEpoch }) => ({ user, loginEpoch })));
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) {
          this.#log.warn("ends of logins not stored yet", {
            count: logins.length,
            why: describeError(error),
          });
        }
        this.#failing = true;
        if (generation === this.#generation) this.#pending.unshift(...logins);
        this.#retryTimer = setTimeout(() => this.#start(), RETRY_MS);
        return;
      }
    }
  }
}
