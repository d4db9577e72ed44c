/** Reads a caller's requests, looks them up in the table, and makes replies of what comes of them. */
import { BusUnavailableError } from "../../bus/bus.ts";
import { describeError } from "../../log.ts";
import { StoreUnavailableError } from "../../store/store.ts";
import { WireError } from "../../wire/decoder.ts";
import { type Message, parseMessage } from "../../wire/message.ts";
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import { type ReplyBody, RequestError } from "./reply_body.ts";
import type { Client } from "../sessions/client.ts";
import type { Handler, PreparedRequest } from "../net/connection_context.ts";
import type { ServerMessage } from "./dialect.ts";
import { validate } from "./validators.ts";
import { OverloadedError } from "../../passwords/password_hasher.ts";
import { type RequestSpec, requestTable } from "../handlers/request_table.ts";
import type { Session } from "../sessions/session.ts";

const EXPENSIVE = 5; // simple requests: those that cost as much take turns
const UNKNOWN_COST = 1; // of what isn't in the table
const RETRY_AFTER_MS = 1_000; // ms; storage that can't be reached is rarely back sooner

/** Carries out one caller's requests. */
export class Dispatcher implements Handler {
  readonly #client: Client;

  constructor(client: Client) {
    this.#client = client;
  }

  get isAuthenticated(): boolean {
    return this.#client.session !== undefined;
  }

  onRead(bytes: number, now: number): number {
    // each frame's are counted with it; a classic client may send anything between objects
    if (!this.#isClassic) return 0;
    const wait = this.#client.rateLimiter?.tryConsume(0, bytes, now) ?? 0;
    if (wait > 0) this.#client.rateLimiter!.consumeOnCredit(0, bytes);
    return wait;
  }

  prepare(body: Uint8Array | WireError, now: number): PreparedRequest {
    const size = body instanceof WireError || this.#isClassic ? 0 : body.length;
    const message = body instanceof WireError ? body : parseMessage(body, this.#client.node.config);
    if (message instanceof WireError) {
      return this.#throttle(this.#protocolError(message), UNKNOWN_COST, size, now);
    }
    const spec = requestTable.get(message.msgid);
    if (!spec || (this.#isClassic && !spec.classic)) {
      const error = new WireError(Errno.BAD_REQUEST, `unknown msgid ${message.msgid}`, message);
      return this.#throttle(this.#protocolError(error), UNKNOWN_COST, size, now);
    }
    const request = {
      exclusive: !spec.concurrent,
      execute: () => this.#execute(spec, message),
    };
    return this.#isRejectable(spec)
      ? this.#rateLimit(request, spec, message, size, now)
      : this.#throttle(request, spec.cost, size, now);
  }

  onReply(bytes: number): void {
    this.#client.rateLimiter?.charge(0, bytes, performance.now());
  }

  onDrain(): void {
    this.#client.session?.onDrain();
  }

  onEnd(): void {
    void this.#client.endSession();
  }

  /**
   * Whether it may be answered with errno 8: a classic client would never hear of it, and a client that is
   * not logged in yet, or a request that has no answer, is slowed down instead.
   */
  #isRejectable(spec: RequestSpec): boolean {
    return this.#client.session !== undefined && spec.needsLogin && spec.reply !== undefined &&
      !this.#isClassic;
  }

  /** The request, or its refusal if it is more than the session may ask for. */
  #rateLimit(
    request: PreparedRequest,
    spec: RequestSpec,
    message: Message,
    size: number,
    now: number,
  ): PreparedRequest {
    const { rateLimiter: limiter } = this.#client;
    const wait = limiter?.tryConsume(spec.cost, size, now) ?? 0;
    if (!limiter || wait === 0) {
      return limiter?.exceedsCommitted ? { ...request, lowPriority: true } : request;
    }
    const error = new RequestError(Errno.RATE_LIMITED, "more than this session may ask for", wait);
    const pauseMs = limiter.chargeRefusal(size, now);
    return { exclusive: false, pauseMs, execute: () => this.#errorReply(spec, message, error) };
  }

  /** The request, with the time that it must wait if it is more than the client may ask for. */
  #throttle(request: PreparedRequest, cost: number, size: number, now: number): PreparedRequest {
    const { rateLimiter: limiter } = this.#client;
    const delayMs = limiter?.tryConsume(cost, size, now) ?? 0;
    if (!limiter || delayMs === 0) {
      return limiter?.exceedsCommitted ? { ...request, lowPriority: true } : request;
    }
    limiter.consumeOnCredit(cost, size);
    return { ...request, delayMs, lowPriority: true };
  }

  get #isClassic(): boolean {
    return this.#client.connection.dialect?.name === "classic";
  }

  #protocolError(error: WireError): PreparedRequest {
    const { msgid, rid } = error.about;
    const spec = msgid === undefined ? undefined : requestTable.get(msgid);
    this.#client.node.log.debug("refused", {
      from: this.#client.remoteAddress,
      errno: error.errno,
      why: error.message,
    });
    const body = { errno: error.errno, errmsg: error.message };
    const rejection = spec ? reply(spec, rid, body) : compose(Msg.ACK, msgid ?? 0, rid, body);
    return { exclusive: false, execute: () => rejection };
  }

  #execute(
    spec: RequestSpec,
    message: Message,
  ): ServerMessage | undefined | Promise<ServerMessage | undefined> {
    try {
      const { session } = this.#client;
      if (spec.needsLogin) this.#authorize(session, message);
      const problem = validate(spec.fields, message);
      if (problem !== undefined) throw new RequestError(Errno.BAD_REQUEST, problem);
      const handle = () => spec.handle(this.#client, session!, message as never, message.rid);
      const result = spec.cost >= EXPENSIVE
        ? this.#client.node.pageSemaphore.run(async () => await handle())
        : handle();
      if (!(result instanceof Promise)) return reply(spec, message.rid, result);
      return result.then(
        (answer) => reply(spec, message.rid, answer),
        (error) => this.#errorReply(spec, message, error),
      );
    } catch (error) {
      return this.#errorReply(spec, message, error);
    }
  }

  /**
   * Identity is the login's (invariant I6); a classic client says its own id along, and it must be that one.
   */
  #authorize(session: Session | undefined, message: Message): void {
    if (!session) throw new RequestError(Errno.NOT_LOGGED_IN, "log in first");
    if (this.#isClassic && message.id !== undefined && message.id !== session.user) {
      throw new RequestError(Errno.FORBIDDEN, `id is not ${session.user}, who is logged in here`);
    }
  }

  #errorReply(spec: RequestSpec, message: Message, error: unknown): ServerMessage | undefined {
    const { errno, message: errmsg, retryAfter } = this.#toRequestError(spec, error);
    this.#client.node.log.debug("refused", {
      from: this.#client.remoteAddress,
      request: spec.name,
      errno,
      why: errmsg,
    });
    return reply(spec, message.rid, {
      errno,
      errmsg,
      ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
    });
  }

  #toRequestError(spec: RequestSpec, error: unknown): RequestError {
    if (error instanceof RequestError) return error;
    if (error instanceof OverloadedError) {
      return new RequestError(Errno.RATE_LIMITED, error.message, error.retryAfter);
    }
    const [reason, isExpected] = error instanceof StoreUnavailableError
      ? ["storage can't be reached", true]
      : error instanceof BusUnavailableError
      ? ["the other nodes can't be reached", true]
      : ["the server failed", false];
    const stack = isExpected ? undefined : (error as Error).stack;
    const { log, failureLog } = this.#client.node;
    failureLog.log((count) =>
      log.error(reason, { request: spec.name, why: describeError(error), stack, count })
    );
    return new RequestError(Errno.UNAVAILABLE, `${reason}; nothing was accepted`, RETRY_AFTER_MS);
  }
}

function reply(
  spec: RequestSpec,
  rid: Rid | undefined,
  body: ReplyBody | undefined,
): ServerMessage | undefined {
  if (body === undefined || spec.reply === undefined) return undefined;
  return compose(spec.reply, spec.msgid, rid, body);
}

function compose(msgid: number, of: number, rid: Rid | undefined, body: ReplyBody): ServerMessage {
  const head = msgid === Msg.ACK ? { msgid, of, errno: Errno.OK } : { msgid, errno: Errno.OK };
  return rid === undefined ? { ...head, ...body } : { ...head, ...body, rid };
}
