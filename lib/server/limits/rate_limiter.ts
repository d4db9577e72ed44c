/**
 * The rate limits of clients, with the colours of the meter of RFC 2697. A client has a committed rate of its
 * own, and shares the excess rate of the node with all others. Times are by `performance.now`.
 */
import { BoundedMap } from "../../bounded_map.ts";
import type { Config } from "../../config/options.ts";
import { type Rate, RequestByteBuckets, TokenBucket } from "./token_bucket.ts";

const BYTES_PER_REQUEST = 1_024; // on average, for rates that are configured in requests only
const UNAUTHENTICATED_BURST_SECONDS = 5; // of its rate: a registration, a login, and some retries
const SHARED_BYTES_PER_REQUEST = 2_048; // more, as the largest replies are paid from the shared rate
const SHARED_BURST_SECONDS = 0.2; // of the rate: others may have to wait for the burst of a busy client
const UNAUTHENTICATED_SHARE = 0.1; // of the shared rate, in a bucket of its own
// A byte burst holds so many of the largest frames. A client would retry a frame over the burst forever.
const MIN_BURST_FRAMES = 2;
// The burst is for the requests that were in flight before the client knew of the limit.
const REFUSAL_RATE: Rate = { perSecond: 5, burst: 32 };
const BYTES_PER_REFUSAL = 4_096; // of a refused request that costs as much as to refuse a small one
// Of one user: for connections that drop now and then, and not for clients that log in in a loop.
const LOGIN_RATE: Rate = { perSecond: 0.5, burst: 2 };
const MAX_DEBT_MS = 4_000; // of the committed rate: replies charge no further debt beyond it

/** The result of policing one request. */
export interface Verdict {
  /**
   * Green: within the committed rate, with its reserve. Yellow: below the reserve, or within the shared rate.
   * Red: beyond both.
   */
  readonly color: "green" | "yellow" | "red";
  /** Milliseconds for which no further request should be taken from the client. */
  readonly pauseMs: number;
  /** Milliseconds after which a red request would be within the committed rate. */
  readonly retryAfterMs: number;
}

const GREEN: Verdict = { color: "green", pauseMs: 0, retryAfterMs: 0 };
const YELLOW: Verdict = { color: "yellow", pauseMs: 0, retryAfterMs: 0 };

/** The rate limiter of one client. */
export class RateLimiter {
  readonly #committed: RequestByteBuckets;
  readonly #shared: RequestByteBuckets | undefined;
  #refusals: TokenBucket | undefined; // of most clients, nothing is ever refused
  readonly #logins = new TokenBucket(LOGIN_RATE);

  constructor(committed: RequestByteBuckets, shared?: RequestByteBuckets) {
    this.#committed = committed;
    this.#shared = shared;
  }

  /**
   * Returns the verdict on a request. The caller must reject a red one with `mayReject`: it takes no tokens,
   * but large and frequent rejections cause a pause. A red one without it takes its tokens on credit, and
   * the pause lasts until that debt is settled.
   */
  police(cost: number, bytes: number, now: number, mayReject: boolean): Verdict {
    const waitMs = this.#tryConsume(cost, bytes, now);
    if (waitMs === 0) return this.#committed.isBelowReserve ? YELLOW : GREEN;
    if (mayReject) return { color: "red", pauseMs: this.#chargeRefusal(bytes, now), retryAfterMs: waitMs };
    this.#committed.consume(cost, bytes);
    return { color: "red", pauseMs: waitMs, retryAfterMs: waitMs };
  }

  /**
   * Charges a cost that was not known before: of a request beyond its price, or the bytes of its reply, as
   * large replies to small requests are work too. If there are no tokens the next request pays the debt.
   */
  charge(cost: number, bytes: number, now: number): void {
    if (this.#tryConsume(cost, bytes, now) === 0) return;
    if (this.#committed.timeUntil(0, 0, now) < MAX_DEBT_MS) this.#committed.consume(cost, bytes);
  }

  /** Counts a login of the user. Returns whether logins are too frequent: each costs as much as many messages. */
  isLoginRateExceeded(now: number): boolean {
    return this.#logins.tryConsume(1, now) > 0;
  }

  /** Takes committed or else shared tokens and returns 0, or returns the milliseconds until committed ones. */
  #tryConsume(cost: number, bytes: number, now: number): number {
    const waitMs = this.#committed.tryConsume(cost, bytes, now);
    return waitMs === 0 || this.#shared?.tryConsume(cost, bytes, now) === 0 ? 0 : waitMs;
  }

  /** Returns the pause after a rejection, in milliseconds: to reject costs time, too. */
  #chargeRefusal(bytes: number, now: number): number {
    const cost = Math.max(1, bytes / BYTES_PER_REFUSAL);
    const refusals = this.#refusals ??= new TokenBucket(REFUSAL_RATE);
    const waitMs = refusals.tryConsume(cost, now);
    if (waitMs > 0) refusals.consume(cost);
    return waitMs;
  }
}

/** Returns the committed rate of a session; undefined if it is unlimited. */
export function committedForSession(
  { messageRate, messageBurst, byteRate, byteBurst, maxFrame }: Config,
): RequestByteBuckets | undefined {
  if (messageRate === 0) return undefined;
  return new RequestByteBuckets(
    { perSecond: messageRate, burst: messageBurst },
    { perSecond: byteRate, burst: Math.max(byteBurst, MIN_BURST_FRAMES * maxFrame) },
  );
}

/** Returns the committed rate of an unauthenticated connection; undefined if it is unlimited. */
export function committedForUnauthenticated({ unauthenticatedRate }: Config): RequestByteBuckets | undefined {
  return bucketsFor(unauthenticatedRate, UNAUTHENTICATED_BURST_SECONDS, BYTES_PER_REQUEST);
}

/** Returns the rate that all sessions of a node share; undefined if there is none. */
export function sharedForSessions({ sharedRate }: Config): RequestByteBuckets | undefined {
  return bucketsFor(sharedRate, SHARED_BURST_SECONDS, SHARED_BYTES_PER_REQUEST);
}

/** Returns the rate that all unauthenticated connections of a node share; undefined if there is none. */
export function sharedForUnauthenticated({ sharedRate }: Config): RequestByteBuckets | undefined {
  return bucketsFor(sharedRate * UNAUTHENTICATED_SHARE, SHARED_BURST_SECONDS, SHARED_BYTES_PER_REQUEST);
}

function bucketsFor(
  perSecond: number,
  burstSeconds: number,
  bytesPerRequest: number,
): RequestByteBuckets | undefined {
  if (perSecond === 0) return undefined;
  const burst = perSecond * burstSeconds;
  return new RequestByteBuckets(
    { perSecond, burst },
    { perSecond: perSecond * bytesPerRequest, burst: burst * bytesPerRequest },
  );
}

// Users: as many as a node has connections. A user whose limiter was evicted starts with a full burst.
const MAX_CACHED_USERS = 20_000;

/** The rate limiters of a node's users, which outlive sessions: a user who reconnects has no more than before. */
export class RateLimiters {
  readonly #config: Config;
  readonly #shared: RequestByteBuckets | undefined;
  readonly #sharedForUnauthenticated: RequestByteBuckets | undefined;
  readonly #users: BoundedMap<number, RateLimiter>;

  /** At most `maxUsers` are cached. */
  constructor(config: Config, maxUsers = MAX_CACHED_USERS) {
    this.#config = config;
    this.#shared = sharedForSessions(config);
    this.#sharedForUnauthenticated = sharedForUnauthenticated(config);
    this.#users = new BoundedMap(maxUsers);
  }

  /** Returns the rate limiter of a user; undefined if users are not limited. */
  forUser(user: number): RateLimiter | undefined {
    let limiter = this.#users.get(user);
    if (!limiter) {
      const committed = committedForSession(this.#config);
      if (!committed) return undefined;
      limiter = new RateLimiter(committed, this.#shared);
    }
    this.#users.set(user, limiter); // now the most recently used
    return limiter;
  }

  /** Returns a rate limiter for an unauthenticated connection; undefined if these are not limited. */
  forUnauthenticated(): RateLimiter | undefined {
    const committed = committedForUnauthenticated(this.#config);
    return committed && new RateLimiter(committed, this.#sharedForUnauthenticated);
  }
}
