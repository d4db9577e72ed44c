/**
 * Draining: moves the clients of a server that stops to other nodes. Each client is notified when to
 * reconnect, and served until then. The times are spread, so that the reconnects do not overload the other
 * nodes.
 */
import { Msg } from "../../wire/protocol.ts";
import type { Client } from "./client.ts";

/** Milliseconds per connection over which the reconnects are spread: 2,000 logins a second. */
const RECONNECT_MS_PER_CONNECTION = 0.5;
/**
 * Milliseconds over which the reconnects are spread at least. A login request in transit arrives within that
 * time.
 */
const MIN_RECONNECT_SPREAD_MS = 500;
/** The part of the drain timeout over which the reconnects are spread at most. */
const RECONNECT_FRACTION = 0.7;
/**
 * The part of the drain timeout for which a client is served after its time to reconnect. Within it the next
 * login replaces the session, so that friends see no change. The rest of the drain timeout is for the last
 * replies.
 */
const RECONNECT_GRACE_FRACTION = 0.1;

/** The draining of one server. All times are by `performance.now`. */
export class Draining {
  readonly #deadline: number;
  readonly #reconnectDeadline: number;
  readonly #unauthenticatedDeadline: number;
  readonly #graceMs: number;
  readonly #servedUntil = new WeakMap<Client, number>();

  /** Begins at `now`, for about that many connections. All are closed after `timeoutMs`. */
  constructor(connections: number, timeoutMs: number, now: number) {
    this.#deadline = now + timeoutMs;
    this.#reconnectDeadline = now +
      Math.min(
        MIN_RECONNECT_SPREAD_MS + RECONNECT_MS_PER_CONNECTION * connections,
        RECONNECT_FRACTION * timeoutMs,
      );
    this.#unauthenticatedDeadline = now + Math.min(MIN_RECONNECT_SPREAD_MS, RECONNECT_FRACTION * timeoutMs);
    this.#graceMs = RECONNECT_GRACE_FRACTION * timeoutMs;
  }

  /** Notifies a client, or ends its connection, if it is time. Called periodically for each client. */
  check(client: Client, now: number): void {
    const { connection } = client;
    if (!connection.isOpen) return;
    if (client.session) {
      const until = this.#servedUntil.get(client) ?? this.#notify(client, now);
      if (now >= Math.min(until, this.#deadline)) void connection.end(undefined, this.#remainingMs(now));
    } else if (now >= this.#deadline || (now >= this.#unauthenticatedDeadline && connection.inFlight === 0)) {
      // An unauthenticated client is closed early. A login in progress is completed, and its client is then
      // drained like the others.
      void connection.end(notice(this.#retryAfterMs(now)), this.#remainingMs(now));
    }
  }

  /**
   * Notifies a client when to reconnect. Returns the time until which it is served. Classic clients get no
   * notice.
   */
  #notify(client: Client, now: number): number {
    const retryAfter = this.#retryAfterMs(now);
    client.connection.send(notice(retryAfter));
    const until = now + retryAfter + this.#graceMs;
    this.#servedUntil.set(client, until);
    return until;
  }

  /** Returns the milliseconds after which a client should reconnect. */
  #retryAfterMs(now: number): number {
    return Math.round(Math.random() * Math.max(0, this.#reconnectDeadline - now));
  }

  #remainingMs(now: number): number {
    return Math.max(0, this.#deadline - now);
  }
}

function notice(retryAfter: number) {
  return {
    msgid: Msg.NOTICE,
    kind: "draining",
    retry_after: retryAfter,
    errmsg: "the server is shutting down",
  };
}
