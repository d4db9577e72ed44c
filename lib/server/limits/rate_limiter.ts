/**
 * How much a client may ask for. Beyond it, it is told to come again later, or simply not read for a while.
 */
import type { Config } from "../../config/options.ts";

/** What may be done per second for long, and at once after a rest. */
interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

const BYTES_PER_REQUEST = 1_024; // of a request on average, where only requests per second are configured
const UNAUTHENTICATED_BURST_SECONDS = 5; // seconds' worth: a registration, a login, and some tries
const SHARED_BYTES_PER_REQUEST = 2_048; // more, as the largest answers are to be had from what is spare
const SHARED_BURST_SECONDS = 0.2; // seconds' worth: what a busy client gets ahead, others may have to wait for
const UNAUTHENTICATED_SHARE = 0.1; // of what is spare for sessions, strangers have as much together, of their own
const RESERVE_FRACTION = 0.75; // of a bucket: who asks for less than flows in is above it, but for a few at once
const EPSILON = 1e-6; // of a request or a byte: less is what adding up has got wrong
// of the largest that are taken: one that never could be would be sent again for ever
const MIN_BURST_FRAMES = 2;
const REFUSAL_RATE: Rate = { perSecond: 5, burst: 32 }; // what was on its way, and not a flood
// of one user: a connection that is lost now and then, and not a loop
const LOGIN_RATE: Rate = { perSecond: 0.5, burst: 2 };
const BYTES_PER_REFUSAL = 4_096; // of a refused request that cost as much as refusing a small one
const MAX_DEBT_MS = 4_000; // ms: beyond it a session owes no more for answers that nothing was there for

/**
 * A bucket that fills steadily. It may be overdrawn, and holds nothing then until that has been made up for.
 */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #updatedAt: number | undefined; // ms: when it held so many

  /** It begins full. */
  constructor({ perSecond, burst }: Rate) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Whether it was no longer nearly full when something was last taken. */
  get isBelowReserve(): boolean {
    return this.#tokens < this.#burst * RESERVE_FRACTION;
  }

  /** Takes so many, or nothing and gives the milliseconds until they are there. */
  tryConsume(count: number, now: number): number {
    const wait = this.timeUntil(count, now);
    if (wait === 0) this.#tokens -= count;
    return wait;
  }

  /** Takes them, whether or not they are there. */
  consume(count: number): void {
    this.#tokens -= count;
  }

  /** Milliseconds until it holds so many; 0 if it does now. */
  timeUntil(count: number, now: number): number {
    const elapsed = now - (this.#updatedAt ?? now);
    if (elapsed >= 0) {
      this.#tokens = Math.min(this.#burst, this.#tokens + elapsed * this.#perMs);
      this.#updatedAt = now;
    }
    const missing = count - this.#tokens;
    return missing < EPSILON ? 0 : Math.ceil(missing / this.#perMs - EPSILON);
  }
}

/** Two buckets: one for requests, one for bytes. */
export class RequestByteBuckets {
  readonly requests: TokenBucket;
  readonly bytes: TokenBucket;

  private constructor(requests: Rate, bytes: Rate) {
    this.requests = new TokenBucket(requests);
    this.bytes = new TokenBucket(bytes);
  }

  /** What a session may always do; undefined if anything. */
  static forSession(
    { messageRate, messageBurst, byteRate, byteBurst, maxFrame }: Config,
  ): RequestByteBuckets | undefined {
    if (messageRate === 0) return undefined;
    return new RequestByteBuckets(
      { perSecond: messageRate, burst: messageBurst },
      { perSecond: byteRate, burst: Math.max(byteBurst, MIN_BURST_FRAMES * maxFrame) },
    );
  }

  /** What a connection without a login may always do; undefined if anything. */
  static forUnauthenticated({ unauthenticatedRate }: Config): RequestByteBuckets | undefined {
    return unauthenticatedRate === 0
      ? undefined
      : RequestByteBuckets.#create(unauthenticatedRate, UNAUTHENTICATED_BURST_SECONDS, BYTES_PER_REQUEST);
  }

  /** What all sessions of a node may do together beyond their own; undefined if nothing. */
  static sharedForSessions({ sharedRate }: Config): RequestByteBuckets | undefined {
    return sharedRate === 0
      ? undefined
      : RequestByteBuckets.#create(sharedRate, SHARED_BURST_SECONDS, SHARED_BYTES_PER_REQUEST);
  }

  /** What all connections without a login may do together beyond their own; undefined if nothing. */
  static sharedForUnauthenticated({ sharedRate }: Config): RequestByteBuckets | undefined {
    return sharedRate === 0 ? undefined : RequestByteBuckets.#create(
      sharedRate * UNAUTHENTICATED_SHARE,
      SHARED_BURST_SECONDS,
      SHARED_BYTES_PER_REQUEST,
    );
  }

  static #create(perSecond: number, seconds: number, bytesPerRequest: number): RequestByteBuckets {
    const burst = perSecond * seconds;
    return new RequestByteBuckets(
      { perSecond, burst },
      { perSecond: perSecond * bytesPerRequest, burst: burst * bytesPerRequest },
    );
  }

  /** Takes a request of so many bytes and gives 0; or nothing, and the milliseconds until both are there. */
  tryConsume(cost: number, bytes: number, now: number): number {
    const wait = Math.max(this.requests.timeUntil(cost, now), this.bytes.timeUntil(bytes, now));
    if (wait === 0) this.consume(cost, bytes);
    return wait;
  }

  /** Takes them, whether or not they are there. */
  consume(cost: number, bytes: number): void {
    this.requests.consume(cost);
    this.bytes.consume(bytes);
  }
}

/**
 * What one client may do: what is its own, and what is spare of what all may. Times are by `performance.now`.
 */
export class RateLimiter {
  readonly #committed: RequestByteBuckets;
  readonly #shared: RequestByteBuckets | undefined;
  readonly #refusals = new TokenBucket(REFUSAL_RATE);
  readonly #logins = new TokenBucket(LOGIN_RATE);

  constructor(committed: RequestByteBuckets, shared?: RequestByteBuckets) {
    this.#committed = committed;
    this.#shared = shared;
  }

  /**
   * Takes a request that costs so much and has so many bytes, and gives 0; or nothing, and the milliseconds
   * until it will be its own: what is spare then is not known.
   */
  tryConsume(cost: number, bytes: number, now: number): number {
    const wait = this.#committed.tryConsume(cost, bytes, now);
    return wait === 0 || this.#shared?.tryConsume(cost, bytes, now) === 0 ? 0 : wait;
  }

  /** Whether the client asks for so much that others with less to do go first. */
  get exceedsCommitted(): boolean {
    return this.#committed.requests.isBelowReserve || this.#committed.bytes.isBelowReserve;
  }

  /**
   * Takes what was not known before: what a request has cost beyond what was taken for it, or the bytes of
   * its answer, as large answers to small questions are work too. If it isn't there, what comes next waits
   * for it.
   */
  charge(cost: number, bytes: number, now: number): void {
    if (this.tryConsume(cost, bytes, now) === 0) return;
    if (
      this.#committed.bytes.timeUntil(0, now) < MAX_DEBT_MS &&
      this.#committed.requests.timeUntil(0, now) < MAX_DEBT_MS
    ) {
      this.consumeOnCredit(cost, bytes);
    }
  }

  /** Takes a request for which `take` said no: what comes next waits for that to be made up for. */
  consumeOnCredit(cost: number, bytes: number): void {
    this.#committed.consume(cost, bytes);
  }

  /**
   * The user logs in. Gives whether that is so often that others go first: a login is as much work as many
   * messages.
   */
  isLoginRateExceeded(now: number): boolean {
    return this.#logins.tryConsume(1, now) > 0;
  }

  /**
   * A request is refused. Gives the milliseconds for which nothing more should be read: refusing costs time
   * too, the more the larger the request is.
   */
  chargeRefusal(bytes: number, now: number): number {
    const cost = Math.max(1, bytes / BYTES_PER_REFUSAL);
    const wait = this.#refusals.tryConsume(cost, now);
    if (wait > 0) this.#refusals.consume(cost);
    return wait;
  }
}

// users: as many as a node has connections; to be forgotten is to have a full allowance
const MAX_CACHED_USERS = 20_000;

/**
 * The allowances of a node's users, which outlive their sessions: a user who comes back has no more than
 * before.
 */
export class RateLimiters {
  readonly #config: Config;
  readonly #shared: RequestByteBuckets | undefined;
  readonly #sharedForUnauthenticated: RequestByteBuckets | undefined;
  readonly #maxUsers: number;
  readonly #users = new Map<number, RateLimiter>();

  /** At most `most` users are remembered. */
  constructor(config: Config, maxUsers = MAX_CACHED_USERS) {
    this.#config = config;
    this.#shared = RequestByteBuckets.sharedForSessions(config);
    this.#sharedForUnauthenticated = RequestByteBuckets.sharedForUnauthenticated(config);
    this.#maxUsers = maxUsers;
  }

  /** A user's; undefined if anything is allowed. */
  forUser(user: number): RateLimiter | undefined {
    let limiter = this.#users.get(user);
    // to stand behind the others, of whom the first is forgotten first
    if (limiter) this.#users.delete(user);
    else {
      const committed = RequestByteBuckets.forSession(this.#config);
      if (!committed) return undefined;
      limiter = new RateLimiter(committed, this.#shared);
    }
    this.#users.set(user, limiter);
    if (this.#users.size > this.#maxUsers) this.#users.delete(this.#users.keys().next().value!);
    return limiter;
  }

  /** That of a connection without a login; undefined if anything is allowed. */
  forUnauthenticated(): RateLimiter | undefined {
    const committed = RequestByteBuckets.forUnauthenticated(this.#config);
    return committed && new RateLimiter(committed, this.#sharedForUnauthenticated);
  }
}
