/**
 * The requests that the server has not answered yet. One at a time is under way: that keeps messages in the
 * order in which they were written, whatever the server puts off and whenever the connection breaks, and the
 * server commits what many clients send at a time in one go anyway.
 */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { errnoOf, isReply, isRetryable, retryAfterMs, toRefusedError } from "./incoming.ts";
import { ConnectionLostError, type RequestMessage } from "./transport.ts";

/** Requests that are kept at most: an hour's typing, and a bound for a script while no server answers. */
export const MAX_QUEUED_REQUESTS = 1_000;

/** There are too many requests already; the message says how many. */
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

/** A queue of requests, answered in order. */
export class RequestQueue {
  readonly #entries: Entry[] = [];
  readonly #onDeferred: (reply: Message) => void;
  #send: ((request: RequestMessage) => void) | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #onIdle: (() => void) | undefined;
  #rid = 0;

  /** `putOff` is told of the first time that the server wants a request to come again later. */
  constructor(onDeferred: (reply: Message) => void) {
    this.#onDeferred = onDeferred;
  }

  /** How many requests wait for an answer. */
  get size(): number {
    return this.#entries.length;
  }

  /**
   * Adds a request. Resolves to its reply; rejects with {@link Refused} when the server says no, with
   * {@link QueueFullError}, and with {@link ConnectionLostError} when it was sent, the connection broke before the
   * answer, and it isn't `repeatable`: such a request might be carried out twice.
   */
  add(request: RequestMessage, idempotent: boolean): Promise<Message> {
    if (this.size >= MAX_QUEUED_REQUESTS) {
      const text =
        `${MAX_QUEUED_REQUESTS} requests wait for the server's answer already; this one was not taken`;
      return Promise.reject(new QueueFullError(text));
    }
    return new Promise((resolve, reject) => {
      const numbered = { ...request, rid: ++this.#rid };
      this.#entries.push({ request: numbered, idempotent, sent: false, deferred: false, resolve, reject });
      if (this.size === 1) this.#sendFirst();
    });
  }

  /** A connection is there, logged in: what waits is sent on it. */
  attach(send: (request: RequestMessage) => void): void {
    this.#send = send;
    clearTimeout(this.#retryTimer);
    this.#sendFirst();
  }

  /**
   * The connection is about to be left: what isn't sent waits for the next one. Resolves when nothing is under way.
   */
  pause(): Promise<void> {
    this.#send = undefined;
    clearTimeout(this.#retryTimer);
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      if (!this.#entries[0]?.sent) this.#notifyIdle();
    });
  }

  /** The connection is gone. What isn't answered waits for the next one. */
  detach(): void {
    this.#send = undefined;
    clearTimeout(this.#retryTimer);
    this.#notifyIdle();
    const [first] = this.#entries;
    if (!first?.sent || first.idempotent) return;
    this.#entries.shift();
    first.reject(
      new ConnectionLostError("the connection broke before the answer came; it may have been done"),
    );
  }

  /** Takes a message of the server's if it answers the request under way. */
  onReply(reply: Message): void {
    const [first] = this.#entries;
    if (!first?.sent || !isReply(reply)) return;
    // A reply without a rid answers a request that the server couldn't read far enough.
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

  /** Gives up on all that waits. */
  fail(error: Error): void {
    this.#send = undefined;
    clearTimeout(this.#retryTimer);
    for (const { reject } of this.#entries.splice(0)) reject(error);
  }

  /** Nothing is under way. */
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
