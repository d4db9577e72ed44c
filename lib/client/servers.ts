/** The choice of a server, and the pauses between attempts to reach one. */
import {
  type Address,
  ConnectionLostError,
  DEFAULT_TIMEOUTS,
  ServerConnection,
  type Timeouts,
} from "./transport.ts";

/** The servers on the command line. All are equal. The first attempt goes to the server that replied last. */
export class Servers {
  readonly #addresses: readonly Address[];
  readonly #timeouts: Timeouts;
  #index = 0;

  /** `addresses` has at least one element. */
  constructor(addresses: readonly Address[], timeouts: Timeouts = DEFAULT_TIMEOUTS) {
    this.#addresses = addresses;
    this.#timeouts = timeouts;
  }

  /** The timeouts of connections to these servers. */
  get timeouts(): Timeouts {
    return this.#timeouts;
  }

  /** Selects the next server for the next attempt, such as after a server closed a connection. */
  advance(): void {
    this.#index = (this.#index + 1) % this.#addresses.length;
  }

  /**
   * Connects and calls `use` with the connection, which stays open. If the connection fails, the next server
   * follows. Rejects with {@link ConnectionLostError} and all reasons after one attempt per server, with any
   * other error of `use` at once, and with the signal's reason if it aborts.
   */
  async tryEach<T>(use: (connection: ServerConnection) => Promise<T>, signal: AbortSignal): Promise<T> {
    const reasons: string[] = [];
    for (const _ of this.#addresses) {
      try {
        return await this.#attempt(use, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof ConnectionLostError)) throw error;
        reasons.push(error.message);
        this.advance();
      }
    }
    throw new ConnectionLostError(reasons.join("; "));
  }

  async #attempt<T>(use: (connection: ServerConnection) => Promise<T>, signal: AbortSignal): Promise<T> {
    const connection = await ServerConnection.open(this.#addresses[this.#index]!, this.#timeouts, signal);
    const abort = () => connection.abort("interrupted");
    signal.addEventListener("abort", abort, { once: true });
    try {
      return await use(connection);
    } catch (error) {
      connection.abort("cancelled");
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }
}

const MIN_BACKOFF_MS = 250; // after most restarts, the client is back before a user notices
const MAX_BACKOFF_MS = 15_000; // after a long outage, a client is back within this time
const JITTER = 0.5; // random part of a wait, which spreads the clients of a lost node

/** Returns the time in milliseconds before the `attempt`th try (1, 2, …) to reach the servers. */
export function backoffMs(attempt: number): number {
  const full = Math.min(MIN_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  return full * (1 - JITTER * Math.random());
}
