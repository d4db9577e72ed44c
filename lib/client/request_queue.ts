/**
 * The requests that the server has not answered yet. One at a time is under way: that keeps messages in the
 * order in which they were written, whatever the server puts off and whenever the connection breaks, and the
 * server commits what many clients send at a time in one go anyway.
 */
import type { Message } from "../wire/message.ts";
import { Errno } from "../wire/protocol.ts";
import { errnoOf, isForLater, isReply, refusal, retryAfter } from "./incoming.ts";
import { ConnectionLost, type Request } from "./transport.ts";

/** Requests that are kept at most: an hour's typing, and a bound for a script while no server answers. */
export const OUTBOX_LIMIT = 1_000;

/** There are too many requests already; the message says how many. */
export class OutboxFull extends Error {
  override readonly name = "OutboxFull";
}

interface Entry {
  readonly request: Request & { readonly rid: number };
  readonly repeatable: boolean;
  sent: boolean;
  putOff: boolean;
  readonly resolve: (reply: Message) => void;
  readonly reject: (error: Error) => void;
}

/** A queue of requests, answered in order. */
export class Outbox {
  readonly #entries: Entry[] = [];
  readonly #putOff: (reply: Message) => void;
  #send: ((request: Request) => void) | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #paused: (() => void) | undefined;
  #rid = 0;

  /** `putOff` is told of the first time that the server wants a request to come again later. */
  constructor(putOff: (reply: Message) => void) {
    this.#putOff = putOff;
  }

  /** How many requests wait for an answer. */
  get size(): number {
    return this.#entries.length;
  }

  /**
   * Adds a request. Resolves to its reply; rejects with {@link Refused} when the server says no, with
   * {@link OutboxFull}, and with {@link ConnectionLost} when it was sent, the connection broke before the
   * answer, and it isn't `repeatable`: such a request might be carried out twice.
   */
  add(request: Request, repeatable: boolean): Promise<Message> {
    if (this.size >= OUTBOX_LIMIT) {
      const words = `${OUTBOX_LIMIT} requests wait for the server's answer already; this one was not taken`;
      return Promise.reject(new OutboxFull(words));
    }
    return new Promise((resolve, reject) => {
      const numbered = { ...request, rid: ++this.#rid };
      this.#entries.push({ request: numbered, repeatable, sent: false, putOff: false, resolve, reject });
      if (this.size === 1) this.#sendFirst();
    });
  }

  /** A connection is there, logged in: what waits is sent on it. */
  attach(send: (request: Request) => void): void {
    this.#send = send;
    clearTimeout(this.#retry);
    this.#sendFirst();
  }

  /**
   * The connection is about to be left: what isn't sent waits for the next one. Resolves when nothing is under way.
   */
  pause(): Promise<void> {
    this.#send = undefined;
    clearTimeout(this.#retry);
    return new Promise((resolve) => {
      this.#paused = resolve;
      if (!this.#entries[0]?.sent) this.#settled();
    });
  }

  /** The connection is gone. What isn't answered waits for the next one. */
  detach(): void {
    this.#send = undefined;
    clearTimeout(this.#retry);
    this.#settled();
    const [first] = this.#entries;
    if (!first?.sent || first.repeatable) return;
    this.#entries.shift();
    first.reject(new ConnectionLost("the connection broke before the answer came; it may have been done"));
  }

  /** Takes a message of the server's if it answers the request under way. */
  take(reply: Message): void {
    const [first] = this.#entries;
    if (!first?.sent || !isReply(reply)) return;
    // A reply without a rid answers a request that the server couldn't read far enough.
    if (reply.rid !== undefined && reply.rid !== first.request.rid) return;
    if (isForLater(reply)) {
      first.sent = false;
      if (!first.putOff) this.#putOff(reply);
      first.putOff = true;
      if (this.#send) this.#retry = setTimeout(() => this.#sendFirst(), retryAfter(reply));
      this.#settled();
      return;
    }
    this.#entries.shift();
    if (errnoOf(reply) === Errno.OK) first.resolve(reply);
    else first.reject(refusal(reply));
    this.#settled();
    this.#sendFirst();
  }

  /** Gives up on all that waits. */
  fail(error: Error): void {
    this.#send = undefined;
    clearTimeout(this.#retry);
    for (const { reject } of this.#entries.splice(0)) reject(error);
  }

  /** Nothing is under way. */
  #settled(): void {
    this.#paused?.();
    this.#paused = undefined;
  }

  #sendFirst(): void {
    const [first] = this.#entries;
    if (!first || !this.#send) return;
    first.sent = true;
    this.#send(first.request);
  }
}
