/** Which server to talk to, and for how long to leave them alone when none answers. */
import {
  type Address,
  ConnectionLostError,
  DEFAULT_TIMEOUTS,
  ServerConnection,
  type Timeouts,
} from "./transport.ts";

/** The servers that the user named. All of them are equal; the one that answered last is asked first. */
export class Servers {
  readonly #addresses: readonly Address[];
  readonly #timeouts: Timeouts;
  #index = 0;

  /** At least one address. */
  constructor(addresses: readonly Address[], timeouts: Timeouts = DEFAULT_TIMEOUTS) {
    this.#addresses = addresses;
    this.#timeouts = timeouts;
  }

  /** For how long they are waited for. */
  get timeouts(): Timeouts {
    return this.#timeouts;
  }

  /** Begins with another server next time: this one has just ended a connection. */
  advance(): void {
    this.#index = (this.#index + 1) % this.#addresses.length;
  }

  /**
   * Connects and does `use` with the connection, which stays open; goes on to the next server when that fails
   * for the connection's sake. Rejects with {@link ConnectionLostError}, telling all reasons, when each server was
   * tried once; with what else `use` throws at once; and with the signal's reason when that aborts.
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
      connection.abort("given up");
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }
}

const MIN_BACKOFF_MS = 250; // milliseconds: most restarts are over before a user notices
const MAX_BACKOFF_MS = 15_000; // milliseconds: so soon a client is back after a long outage
const JITTER = 0.5; // of a wait is left to chance, so that the clients of a lost node don't come back all at once

/** How long to wait before the `round`th try (1, 2, …) to reach the servers, in milliseconds. */
export function backoffMs(attempt: number): number {
  const full = Math.min(MIN_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  return full * (1 - JITTER * Math.random());
}
