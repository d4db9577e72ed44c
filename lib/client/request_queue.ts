/**
 * The requests without a reply. Only one at a time is in flight, so that messages stay in order, even if the
 * server defers one or the connection drops. The server's group commit does not depend on several requests
 * per client.
 */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { errnoOf, isReply, isRetryable, retryAfterMs, toRefusedError } from "./incoming.ts";
import { ConnectionLostError, type RequestMessage } from "./transport.ts";

/** Maximum number of queued requests: an hour's typing, and a bound for scripts while no server replies. */
export const MAX_QUEUED_REQUESTS = 1_000;

/** The queue has {@link MAX_QUEUED_REQUESTS} requests. */
export class QueueFullError extends Error {
  override readonly name = "QueueFullError";
}

interface Entry {
  readonly request: RequestMessage & { readonly rid: number };
  readonly idempotent: boolean;
  sent: boolean;
  deferred: boolean;
  readonly resolve: (reply: Message) => void;
  readonly reject: (error: Error) => void;
}

/** A queue of requests. Replies come in order. */
export class RequestQueue {
  readonly #entries: Entry[] = [];
  readonly #onDeferred: (reply: Message) => void;
  #send: ((request: RequestMessage) => void) | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #onIdle: (() => void) | undefined;
  #rid = 0;

  /** The queue calls `onDeferred` the first time that the server defers a request. */
  constructor(onDeferred: (reply: Message) => void) {
    this.#onDeferred = onDeferred;
  }

  /** The number of requests without a reply. */
  get size(): number {
    return this.#entries.length;
  }

  /**
   * Adds a request and resolves to its reply. Rejects with {@link RefusedError} if the server rejects the
   * request, and with {@link QueueFullError}. Rejects with {@link ConnectionLostError} if the connection
   * dropped before the reply and the request is not `idempotent`: a resend might execute it twice.
   */
  add(request: RequestMessage, idempotent: boolean): Promise<Message> {
    if (this.size >= MAX_QUEUED_REQUESTS) {
      const text = `Cannot queue the request: ${MAX_QUEUED_REQUESTS} requests already wait for a reply`;
      return Promise.reject(new QueueFullError(text));
    }
    return new Promise((resolve, reject) => {
      const numbered = { ...request, rid: ++this.#rid };
      this.#entries.push({ request: numbered, idempotent, sent: false, deferred: false, resolve, reject });
      if (this.size === 1) this.#sendFirst();
    });
  }

  /** Sends the queue on a new authenticated connection. */
  attach(send: (request: RequestMessage) => void): void {
    this.#send = send;
    clearTimeout(this.#retryTimer);
    this.#sendFirst();
  }

  /** Stops sending before a change of connections. Resolves when no request is in flight. */
  pause(): Promise<void> {
    this.#send = undefined;
    clearTimeout(this.#retryTimer);
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      if (!this.#entries[0]?.sent) this.#notifyIdle();
    });
  }

  /** Stops after the loss of the connection. Requests without a reply wait for the next connection. */
  detach(): void {
    this.#send = undefined;
    clearTimeout(this.#retryTimer);
    this.#notifyIdle();
    const [first] = this.#entries;
    if (!first?.sent || first.idempotent) return;
    this.#entries.shift();
    first.reject(
      new ConnectionLostError(
        "the connection dropped before the reply, so the server may have executed the request",
      ),
    );
  }

  /** Handles a message of the server that replies to the request in flight, and ignores others. */
  onReply(reply: Message): void {
    const [first] = this.#entries;
    if (!first?.sent || !isReply(reply)) return;
    // A reply without a rid is for a request whose rid the server could not read.
    if (reply.rid !== undefined && reply.rid !== first.request.rid) return;
    if (isRetryable(reply)) {
      first.sent = false;
      if (!first.deferred) this.#onDeferred(reply);
      first.deferred = true;
      if (this.#send) this.#retryTimer = setTimeout(() => this.#sendFirst(), retryAfterMs(reply));
      this.#notifyIdle();
      return;
    }
    this.#entries.shift();
    if (errnoOf(reply) === Errno.OK) first.resolve(reply);
    else first.reject(toRefusedError(reply));
    this.#notifyIdle();
    this.#sendFirst();
  }

  /** Rejects all requests. */
  fail(error: Error): void {
    this.#send = undefined;
    clearTimeout(this.#retryTimer);
    for (const { reject } of this.#entries.splice(0)) reject(error);
  }

  /** Resolves {@link pause}: no request is in flight. */
  #notifyIdle(): void {
    this.#onIdle?.();
    this.#onIdle = undefined;
  }

  #sendFirst(): void {
    const [first] = this.#entries;
    if (!first || !this.#send) return;
    first.sent = true;
    this.#send(first.request);
  }
}
