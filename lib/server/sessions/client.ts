/** The client of a connection: unauthenticated, or a user with a session. Carries out its requests. */
import { BusUnavailableError } from "../../bus/bus.ts";
import { describeError } from "../../log.ts";
import { OverloadedError, type Requester, type Standing } from "../../passwords/password_hasher.ts";
import { StoreUnavailableError } from "../../store/store.ts";
import { WireError } from "../../wire/decoder.ts";
import { type Message, parseMessage } from "../../wire/message.ts";
import { Errno, Msg } from "../../wire/protocol.ts";
import { networkKey } from "../limits/connection_counter.ts";
import type { RateLimiter } from "../limits/rate_limiter.ts";
import type { ClientAddress } from "../net/client_address.ts";
import type { Connection } from "../net/connection.ts";
import type { Admission, Handler, Request } from "../net/connection_context.ts";
import type { Node } from "../node.ts";
import type { ServerMessage } from "../protocol/dialect.ts";
import { replyTo, RequestError } from "../protocol/reply_body.ts";
import type { RequestSpec } from "../protocol/request_spec.ts";
import { validate } from "../protocol/validators.ts";
import { weightOf } from "../scheduling/classes.ts";
import type { Session } from "./session.ts";
import { releaseSession } from "./session_lifecycle.ts";

type Spec = RequestSpec<Client>;

const UNKNOWN_COST = 1; // in simple requests, of a request that is not in the table
const RETRY_AFTER_MS = 1_000; // the store and the bus rarely recover sooner

/** The reason of all aborted signals. Without one, each end of a connection would make an error: 5 µs. */
const HAS_LEFT = "the client has left";

const AT_ONCE: Admission = { isBulk: false, pauseMs: 0 };

/** The client of one connection. */
export class Client implements Handler {
  readonly node: Node;
  readonly connection: Connection;
  /** The start of the time in which it must log in, by `performance.now`. */
  unauthenticatedSince = performance.now();
  /** When it was last sent a PING, by the same clock. */
  lastPingAt = -Infinity;
  /** Whether the header of its proxy was late at the last check. */
  isHeaderOverdue = false;
  /** The number of requests that had started when its time to log in was over. */
  deadlineRequestCount: number | undefined;
  readonly #clientAddress: Pick<ClientAddress, "remoteAddress" | "slot">;
  readonly #table: ReadonlyMap<number, Spec>;
  readonly #onClosed: (client: Client) => void;
  #session: Session | undefined;
  #rateLimiter: RateLimiter | undefined;
  #hasRegistered = false;
  #hasLoggedIn = false;
  #leaving: AbortController | undefined;

  /** `table` holds all requests by their msgid. `onClosed` is called when the connection is closed. */
  constructor(
    node: Node,
    connection: Connection,
    clientAddress: Pick<ClientAddress, "remoteAddress" | "slot">,
    table: ReadonlyMap<number, Spec>,
    onClosed: (client: Client) => void,
  ) {
    this.node = node;
    this.connection = connection;
    this.#clientAddress = clientAddress;
    this.#table = table;
    this.#onClosed = onClosed;
    this.#rateLimiter = node.rateLimiters.forUnauthenticated();
  }

  /** Its session; undefined before a login and after a logout. */
  get session(): Session | undefined {
    return this.#session;
  }

  get isAuthenticated(): boolean {
    return this.#session !== undefined;
  }

  /** The limiter of its requests; undefined if they are not limited. */
  get rateLimiter(): RateLimiter | undefined {
    return this.#rateLimiter;
  }

  /** Whether it has neither logged in nor registered so far. */
  get neverAuthenticated(): boolean {
    return !this.#hasLoggedIn && !this.#hasRegistered;
  }

  /** The address of the client, or of its trusted proxy as long as the client's is not known. */
  get remoteAddress(): string {
    return this.#clientAddress.remoteAddress;
  }

  /** The key of the limits per address; undefined if it is exempt. */
  get rateLimitKey(): string | undefined {
    return this.#clientAddress.slot?.key;
  }

  /** Whether it comes through a trusted proxy whose header has not come yet. */
  get awaitsProxyHeader(): boolean {
    return this.#clientAddress.slot === undefined;
  }

  /** Aborted when nothing more comes from the client: work that only it waits for need not start. */
  get leaving(): AbortSignal {
    return (this.#leaving ??= new AbortController()).signal;
  }

  /** Returns the requester of a password hash. All exempt clients count as one address. */
  requester(standing: Standing): Requester {
    const address = this.rateLimitKey ?? "exempt";
    const network = this.rateLimitKey === undefined ? address : networkKey(this.rateLimitKey);
    return { network, address, standing, signal: this.leaving };
  }

  /** Notes a registration. The first one starts the time to log in again. */
  onRegistered(): void {
    if (!this.#hasRegistered) this.unauthenticatedSince = performance.now();
    this.#hasRegistered = true;
  }

  /** Begins its session. */
  attachSession(session: Session): void {
    this.#session = session;
    this.#hasLoggedIn = true;
    this.#leaving = undefined; // the hash of the login is done, and a signal takes 400 bytes
    this.#rateLimiter = this.node.rateLimiters.forUser(session.user);
  }

  /** Ends its session at a logout. Resolves when the user may log in anywhere. */
  async detachSession(): Promise<void> {
    await this.endSession();
    this.#session = undefined;
    this.#rateLimiter = this.node.rateLimiters.forUnauthenticated();
    this.deadlineRequestCount = undefined;
    this.unauthenticatedSince = performance.now();
  }

  /** Releases its session, if it has one. */
  async endSession(): Promise<void> {
    if (this.#session) await releaseSession(this.node, this.#session);
  }

  // The members of a Handler.

  onRead(bytes: number, now: number): number {
    // Only of a classic client, which may send anything between two objects: frames are counted one by one.
    return this.#isClassic ? this.#rateLimiter?.police(0, bytes, now, false).pauseMs ?? 0 : 0;
  }

  onReply(bytes: number): void {
    this.#rateLimiter?.charge(0, bytes, performance.now());
  }

  onDrain(): void {
    this.#session?.onDrain();
  }

  onLeave(): void {
    // Created here if need be: a login may ask for it later.
    (this.#leaving ??= new AbortController()).abort(HAS_LEFT);
  }

  onEnd(): void {
    void this.endSession();
  }

  onClosed(): void {
    this.#clientAddress.slot?.release();
    this.#onClosed(this);
  }

  prepare(body: Uint8Array | WireError): Request {
    const length = body instanceof WireError ? 0 : body.length;
    const size = this.#isClassic ? 0 : length; // see onRead
    const message = body instanceof WireError ? body : parseMessage(body, this.node.config);
    if (message instanceof WireError) return this.#badRequest(message, size);
    const spec = this.#table.get(message.msgid);
    if (!spec || (this.#isClassic && !spec.classic)) {
      return this.#badRequest(
        new WireError(Errno.BAD_REQUEST, `unknown msgid ${message.msgid}`, message),
        size,
      );
    }
    let refusal: RequestError | undefined;
    return {
      concurrent: spec.concurrent,
      admit: (now) => {
        const mayReject = this.#mayReject(spec);
        const verdict = this.#rateLimiter?.police(spec.cost, size, now, mayReject);
        if (verdict === undefined || verdict.color === "green") return AT_ONCE;
        const weight = weightOf(spec.cost, length);
        // A login or a registration may wait long for a hash, or for the bulk class itself: as an item in
        // progress it would block all other bulk work.
        const isTracked = spec.needsLogin;
        if (verdict.color === "yellow") return { isBulk: true, weight, isTracked, pauseMs: 0 };
        const { pauseMs, retryAfterMs } = verdict;
        if (mayReject) {
          refusal = new RequestError(Errno.RATE_LIMITED, "rate limit exceeded", retryAfterMs);
        }
        return { isBulk: !mayReject, weight, isTracked, pauseMs };
      },
      run: () => refusal ? this.#errorReply(spec, message, refusal) : this.#execute(spec, message),
    };
  }

  /**
   * Whether a request over the rate is rejected with errno 8. A classic client does not know errno 8. An
   * unauthenticated client, and a request without a reply, is slowed down instead.
   */
  #mayReject(spec: Spec): boolean {
    return this.isAuthenticated && spec.needsLogin && spec.reply !== undefined && !this.#isClassic;
  }

  get #isClassic(): boolean {
    return this.connection.dialect?.name === "classic";
  }

  #badRequest({ errno, message: errmsg, about: { msgid, rid } }: WireError, size: number): Request {
    this.#logRefusal(errno, errmsg, msgid);
    const spec = this.#table.get(msgid!) ?? { msgid: msgid ?? 0, reply: Msg.ACK };
    return {
      concurrent: true,
      admit: (now) => {
        const verdict = this.#rateLimiter?.police(UNKNOWN_COST, size, now, false);
        return verdict ? { isBulk: verdict.color !== "green", pauseMs: verdict.pauseMs } : AT_ONCE;
      },
      run: () => replyTo(spec, rid, { errno, errmsg }),
    };
  }

  #execute(spec: Spec, message: Message): ReturnType<Request["run"]> {
    try {
      const session = this.#session;
      if (spec.needsLogin) this.#authorize(session, message);
      const problem = validate(spec.fields, message);
      if (problem !== undefined) throw new RequestError(Errno.BAD_REQUEST, problem);
      const handle = () => spec.handle(this, session!, message as never, message.rid);
      const result = spec.isPage ? this.node.pageSemaphore.run(async () => await handle()) : handle();
      if (!(result instanceof Promise)) return replyTo(spec, message.rid, result);
      return result.then(
        (body) => replyTo(spec, message.rid, body),
        (error) => this.#errorReply(spec, message, error),
      );
    } catch (error) {
      return this.#errorReply(spec, message, error);
    }
  }

  /** Checks that a session is there, and that the `id` of a classic client is its own (invariant I6). */
  #authorize(session: Session | undefined, message: Message): void {
    if (!session) throw new RequestError(Errno.NOT_LOGGED_IN, "log in first");
    if (this.#isClassic && message.id !== undefined && message.id !== session.user) {
      throw new RequestError(Errno.FORBIDDEN, `id is not ${session.user}, who is logged in here`);
    }
  }

  #errorReply(spec: Spec, message: Message, error: unknown): ServerMessage | undefined {
    const requestError = this.#toRequestError(spec, error);
    this.#logRefusal(requestError.errno, requestError.message, spec.name);
    return replyTo(spec, message.rid, requestError.body);
  }

  #toRequestError(spec: Spec, error: unknown): RequestError {
    if (error instanceof RequestError) return error;
    if (error instanceof OverloadedError) {
      return new RequestError(Errno.RATE_LIMITED, error.message, error.retryAfter);
    }
    const [reason, isExpected] = error instanceof StoreUnavailableError
      ? ["storage cannot be reached", true]
      : error instanceof BusUnavailableError
      ? ["the other nodes cannot be reached", true]
      : ["the server failed", false];
    const stack = isExpected ? undefined : (error as Error).stack;
    const { log, failureLog } = this.node;
    failureLog.log((count) =>
      log.error(reason, { request: spec.name, error: describeError(error), stack, count })
    );
    return new RequestError(Errno.UNAVAILABLE, `${reason}; nothing was accepted`, RETRY_AFTER_MS);
  }

  #logRefusal(errno: Errno, error: string, request: string | number | undefined): void {
    this.node.log.debug("refused", { from: this.remoteAddress, request, errno, error });
  }
}
