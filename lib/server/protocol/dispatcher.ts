/** Reads a caller's requests, looks them up in the table, and makes replies of what comes of them. */
import { BusUnavailable } from "../../bus/bus.ts";
import { describe } from "../../log.ts";
import { StoreUnavailable } from "../../store/store.ts";
import { WireError } from "../../wire/decoder.ts";
import { type Message, parseMessage } from "../../wire/message.ts";
import { Errno, Msg, type Rid } from "../../wire/protocol.ts";
import { type Answer, RequestError } from "./reply_body.ts";
import type { Caller } from "../sessions/client.ts";
import type { Handler, Request } from "../net/connection_context.ts";
import type { ServerMessage } from "./dialect.ts";
import { problem } from "./validators.ts";
import { TooBusy } from "../../passwords/password_hasher.ts";
import { requests, type RequestSpec } from "./request_table.ts";
import type { Session } from "../sessions/session.ts";

const HEAVY = 5; // simple requests: those that cost as much take turns
const UNKNOWN_COST = 1; // of what isn't in the table
const RETRY_AFTER = 1_000; // ms; storage that can't be reached is rarely back sooner

/** Carries out one caller's requests. */
export class Dispatcher implements Handler {
  readonly #caller: Caller;

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  get isAuthenticated(): boolean {
    return this.#caller.session !== undefined;
  }

  heard(bytes: number, now: number): number {
    // each frame's are counted with it; a classic client may send anything between objects
    if (!this.#classic) return 0;
    const wait = this.#caller.allowance?.take(0, bytes, now) ?? 0;
    if (wait > 0) this.#caller.allowance!.overdraw(0, bytes);
    return wait;
  }

  read(body: Uint8Array | WireError, now: number): Request {
    const size = body instanceof WireError || this.#classic ? 0 : body.length;
    const message = body instanceof WireError ? body : parseMessage(body, this.#caller.node.config);
    if (message instanceof WireError) return this.#paced(this.#refusal(message), UNKNOWN_COST, size, now);
    const spec = requests.get(message.msgid);
    if (!spec || (this.#classic && !spec.classic)) {
      const error = new WireError(Errno.BAD_REQUEST, `unknown msgid ${message.msgid}`, message);
      return this.#paced(this.#refusal(error), UNKNOWN_COST, size, now);
    }
    const request = {
      exclusive: !spec.pipelined,
      answer: () => this.#answer(spec, message),
    };
    return this.#isRefusable(spec)
      ? this.#limited(request, spec, message, size, now)
      : this.#paced(request, spec.cost, size, now);
  }

  answered(bytes: number): void {
    this.#caller.allowance?.charge(0, bytes, performance.now());
  }

  room(): void {
    this.#caller.session?.room();
  }

  ended(): void {
    void this.#caller.hangUp();
  }

  /**
   * Whether it may be answered with errno 8: a classic client would never hear of it, and a client that is
   * not logged in yet, or a request that has no answer, is slowed down instead.
   */
  #isRefusable(spec: RequestSpec): boolean {
    return this.#caller.session !== undefined && spec.needsLogin && spec.reply !== undefined &&
      !this.#classic;
  }

  /** The request, or its refusal if it is more than the session may ask for. */
  #limited(request: Request, spec: RequestSpec, message: Message, size: number, now: number): Request {
    const { allowance } = this.#caller;
    const wait = allowance?.take(spec.cost, size, now) ?? 0;
    if (!allowance || wait === 0) return allowance?.isBusy ? { ...request, isHeavy: true } : request;
    const error = new RequestError(Errno.RATE_LIMITED, "more than this session may ask for", wait);
    const pause = allowance.refused(size, now);
    return { exclusive: false, pause, answer: () => this.#failed(spec, message, error) };
  }

  /** The request, with the time that it must wait if it is more than the client may ask for. */
  #paced(request: Request, cost: number, size: number, now: number): Request {
    const { allowance } = this.#caller;
    const delay = allowance?.take(cost, size, now) ?? 0;
    if (!allowance || delay === 0) return allowance?.isBusy ? { ...request, isHeavy: true } : request;
    allowance.overdraw(cost, size);
    return { ...request, delay, isHeavy: true };
  }

  get #classic(): boolean {
    return this.#caller.connection.dialect?.name === "classic";
  }

  #refusal(error: WireError): Request {
    const { msgid, rid } = error.about;
    const spec = msgid === undefined ? undefined : requests.get(msgid);
    this.#caller.node.log.debug("refused", {
      from: this.#caller.from,
      errno: error.errno,
      why: error.message,
    });
    const answer = { errno: error.errno, errmsg: error.message };
    const refusal = spec ? reply(spec, rid, answer) : compose(Msg.ACK, msgid ?? 0, rid, answer);
    return { exclusive: false, answer: () => refusal };
  }

  #answer(
    spec: RequestSpec,
    message: Message,
  ): ServerMessage | undefined | Promise<ServerMessage | undefined> {
    try {
      const { session } = this.#caller;
      if (spec.needsLogin) this.#mayAsk(session, message);
      const wrong = problem(spec.fields, message);
      if (wrong !== undefined) throw new RequestError(Errno.BAD_REQUEST, wrong);
      const handle = () => spec.handle(this.#caller, session!, message as never, message.rid);
      const result = spec.cost >= HEAVY
        ? this.#caller.node.pages.begin(async () => await handle())
        : handle();
      if (!(result instanceof Promise)) return reply(spec, message.rid, result);
      return result.then(
        (answer) => reply(spec, message.rid, answer),
        (error) => this.#failed(spec, message, error),
      );
    } catch (error) {
      return this.#failed(spec, message, error);
    }
  }

  /**
   * Identity is the login's (invariant I6); a classic client says its own id along, and it must be that one.
   */
  #mayAsk(session: Session | undefined, message: Message): void {
    if (!session) throw new RequestError(Errno.NOT_LOGGED_IN, "log in first");
    if (this.#classic && message.id !== undefined && message.id !== session.user) {
      throw new RequestError(Errno.FORBIDDEN, `id is not ${session.user}, who is logged in here`);
    }
  }

  #failed(spec: RequestSpec, message: Message, error: unknown): ServerMessage | undefined {
    const { errno, message: errmsg, retryAfter } = this.#explain(spec, error);
    this.#caller.node.log.debug("refused", {
      from: this.#caller.from,
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

  #explain(spec: RequestSpec, error: unknown): RequestError {
    if (error instanceof RequestError) return error;
    if (error instanceof TooBusy) {
      return new RequestError(Errno.RATE_LIMITED, error.message, error.retryAfter);
    }
    const [words, isKnown] = error instanceof StoreUnavailable
      ? ["storage can't be reached", true]
      : error instanceof BusUnavailable
      ? ["the other nodes can't be reached", true]
      : ["the server failed", false];
    const stack = isKnown ? undefined : (error as Error).stack;
    const { log, failures } = this.#caller.node;
    failures.say((count) => log.error(words, { request: spec.name, why: describe(error), stack, count }));
    return new RequestError(Errno.UNAVAILABLE, `${words}; nothing was accepted`, RETRY_AFTER);
  }
}

function reply(
  spec: RequestSpec,
  rid: Rid | undefined,
  answer: Answer | undefined,
): ServerMessage | undefined {
  if (answer === undefined || spec.reply === undefined) return undefined;
  return compose(spec.reply, spec.msgid, rid, answer);
}

function compose(msgid: number, of: number, rid: Rid | undefined, answer: Answer): ServerMessage {
  const head = msgid === Msg.ACK ? { msgid, of, errno: Errno.OK } : { msgid, errno: Errno.OK };
  return rid === undefined ? { ...head, ...answer } : { ...head, ...answer, rid };
}
