/** Token buckets, alone and in pairs of requests and bytes. Times are by `performance.now`. */

/** Tokens per second, and the most that a bucket holds. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

const EPSILON = 1e-6; // of a token: tolerance for floating-point rounding
// A bucket with less than this part of its burst is below its reserve. A client whose requests come more
// slowly than the bucket fills stays above it, except after a few requests at once.
const RESERVE_FRACTION = 0.75;

/** A bucket that fills steadily. Tokens taken on credit are a debt, which fills up first. */
export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #updatedAt: number | undefined; // when it held that many

  /** Starts full. */
  constructor({ perSecond, burst }: Rate) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Whether it was below its reserve when tokens were last taken or counted. */
  get isBelowReserve(): boolean {
    return this.#tokens < this.#burst * RESERVE_FRACTION;
  }

  /** Takes `count` tokens and returns 0, or takes none and returns the milliseconds until it holds as many. */
  tryConsume(count: number, now: number): number {
    const waitMs = this.timeUntil(count, now);
    if (waitMs === 0) this.#tokens -= count;
    return waitMs;
  }

  /** Takes `count` tokens, on credit if it does not hold as many. */
  consume(count: number): void {
    this.#tokens -= count;
  }

  /** Returns the milliseconds until it holds `count` tokens; 0 if it does at `now`. */
  timeUntil(count: number, now: number): number {
    const elapsedMs = now - (this.#updatedAt ?? now);
    if (elapsedMs >= 0) {
      this.#tokens = Math.min(this.#burst, this.#tokens + elapsedMs * this.#perMs);
      this.#updatedAt = now;
    }
    const missing = count - this.#tokens;
    return missing < EPSILON ? 0 : Math.ceil(missing / this.#perMs - EPSILON);
  }
}

/** A bucket for requests and one for bytes. */
export class RequestByteBuckets {
  readonly requests: TokenBucket;
  readonly bytes: TokenBucket;

  constructor(requests: Rate, bytes: Rate) {
    this.requests = new TokenBucket(requests);
    this.bytes = new TokenBucket(bytes);
  }

  /** Whether one of the two was below its reserve. */
  get isBelowReserve(): boolean {
    return this.requests.isBelowReserve || this.bytes.isBelowReserve;
  }

  /** Takes tokens from both and returns 0, or takes none and returns the milliseconds until both hold them. */
  tryConsume(cost: number, bytes: number, now: number): number {
    const waitMs = this.timeUntil(cost, bytes, now);
    if (waitMs === 0) this.consume(cost, bytes);
    return waitMs;
  }

  /** Takes tokens from both, on credit if necessary. */
  consume(cost: number, bytes: number): void {
    this.requests.consume(cost);
    this.bytes.consume(bytes);
  }

  /** Returns the milliseconds until both hold that many tokens; 0 if they do at `now`. */
  timeUntil(cost: number, bytes: number, now: number): number {
    return Math.max(this.requests.timeUntil(cost, now), this.bytes.timeUntil(bytes, now));
  }
}
