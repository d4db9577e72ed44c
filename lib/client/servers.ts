/** Which server to talk to, and for how long to leave them alone when none answers. */
import { type Address, Connection, ConnectionLost, PATIENCE, type Patience } from "./transport.ts";

/** The servers that the user named. All of them are equal; the one that answered last is asked first. */
export class Servers {
  readonly #addresses: readonly Address[];
  readonly #patience: Patience;
  #at = 0;

  /** At least one address. */
  constructor(addresses: readonly Address[], patience: Patience = PATIENCE) {
    this.#addresses = addresses;
    this.#patience = patience;
  }

  /** For how long they are waited for. */
  get patience(): Patience {
    return this.#patience;
  }

  /** Begins with another server next time: this one has just ended a connection. */
  advance(): void {
    this.#at = (this.#at + 1) % this.#addresses.length;
  }

  /**
   * Connects and does `use` with the connection, which stays open; goes on to the next server when that fails
   * for the connection's sake. Rejects with {@link ConnectionLost}, telling all reasons, when each server was
   * tried once; with what else `use` throws at once; and with the signal's reason when that aborts.
   */
  async first<T>(use: (connection: Connection) => Promise<T>, signal: AbortSignal): Promise<T> {
    const reasons: string[] = [];
    for (const _ of this.#addresses) {
      try {
        return await this.#attempt(use, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ConnectionLost)) throw error;
        reasons.push(error.message);
        this.advance();
      }
    }
    throw new ConnectionLost(reasons.join("; "));
  }

  async #attempt<T>(use: (connection: Connection) => Promise<T>, signal: AbortSignal): Promise<T> {
    const connection = await Connection.open(this.#addresses[this.#at]!, this.#patience, signal);
    const abort = () => connection.abort("interrupted");
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await use(connection);
    } catch (error) {
      connection.abort("given up");
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }
}

const BACKOFF_FIRST = 250; // milliseconds: most restarts are over before a user notices
const BACKOFF_MOST = 15_000; // milliseconds: so soon a client is back after a long outage
const JITTER = 0.5; // of a wait is left to chance, so that the clients of a lost node don't come back all at once

/** How long to wait before the `round`th try (1, 2, …) to reach the servers, in milliseconds. */
export function backoff(round: number): number {
  const full = Math.min(BACKOFF_FIRST * 2 ** (round - 1), BACKOFF_MOST);
  return full * (1 - JITTER * Math.random());
}

/** Resolves after `ms` milliseconds; rejects with the signal's reason when that aborts. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal.addEventListener("abort", abort, { once: true });
  });
}
