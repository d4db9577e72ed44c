/**
 * How the clients of a server that is to stop leave it: each is told when to move, and served until then. The
 * moves are spread over some time, so that the other nodes aren't stormed.
 */
import { Msg } from "../../wire/protocol.ts";
import type { Client } from "./client.ts";

const RECONNECT_MS_PER_CONNECTION = 0.5; // ms per connection to spread the moves over: 2,000 logins a second
const MIN_RECONNECT_SPREAD_MS = 500; // ms to spread them over at least, and for a login that is on its way to arrive
const RECONNECT_FRACTION = 0.7; // of all the time: the moves are asked for within it
// Of all the time: a client is served for so much longer than it was told, so that its next login can take
// the account over, of which its friends hear nothing as a rule. The rest of the time is for the last
// replies.
const RECONNECT_GRACE_FRACTION = 0.1;

/** The leave of all of a server's clients. */
export class Draining {
  readonly #deadline: number; // by performance.now, as all times here
  readonly #reconnectDeadline: number;
  readonly #unauthenticatedDeadline: number;
  readonly #graceMs: number;
  readonly #servedUntil = new WeakMap<Client, number>();

  /** Begins it, at `now`: for about that many connections, and all over within that many milliseconds. */
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

  /** Looks at one connection; called again and again. */
  check(client: Client, now: number): void {
    const { connection } = client;
    if (!connection.isOpen) return;
    if (client.session) {
      const until = this.#servedUntil.get(client) ?? this.#notify(client, now);
      if (now >= Math.min(until, this.#deadline)) void connection.end(undefined, this.#remainingMs(now));
    } else if (now >= this.#deadline || (now >= this.#unauthenticatedDeadline && connection.inFlight === 0)) {
      // A client without a login leaves early; but a login in progress is answered, and its client is then
      // like the others.
      void connection.end(notice(this.#retryAfterMs(now)), this.#remainingMs(now));
    }
  }

  /** Tells a client when to move; gives until when it is served. A classic one can't be told. */
  #notify(client: Client, now: number): number {
    const retryAfter = this.#retryAfterMs(now);
    client.connection.send(notice(retryAfter));
    const until = now + retryAfter + this.#graceMs;
    this.#servedUntil.set(client, until);
    return until;
  }

  /** In how many ms a client is to move. */
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
