/**
 * How much a client may ask for. Beyond it, it is told to come again later, or simply not read for a while.
 */
import type { Config } from "../../config/options.ts";

/** What may be done per second for long, and at once after a rest. */
interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

const BYTES_EACH = 1_024; // of a request on average, where only requests per second are configured
const STRANGER_BURST = 5; // seconds' worth: a registration, a login, and some tries
const SPARE_BYTES_EACH = 2_048; // more, as the largest answers are to be had from what is spare
const SPARE_BURST = 0.2; // seconds' worth: what a busy client gets ahead, others may have to wait for
const STRANGERS_PART = 0.1; // of what is spare for sessions, strangers have as much together, of their own
const NEARLY_FULL = 0.75; // of a bucket: who asks for less than flows in is above it, but for a few at once
const LEAST = 1e-6; // of a request or a byte: less is what adding up has got wrong
// of the largest that are taken: one that never could be would be sent again for ever
const FRAMES_AT_ONCE = 2;
const REFUSALS: Rate = { perSecond: 5, burst: 32 }; // what was on its way, and not a flood
// of one user: a connection that is lost now and then, and not a loop
const LOGINS: Rate = { perSecond: 0.5, burst: 2 };
const REFUSED_BYTES = 4_096; // of a refused request that cost as much as refusing a small one
const OWED_MOST = 4_000; // ms: beyond it a session owes no more for answers that nothing was there for

/**
 * A bucket that fills steadily. It may be overdrawn, and holds nothing then until that has been made up for.
 */
export class Bucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #at: number | undefined; // ms: when it held so many

  /** It begins full. */
  constructor({ perSecond, burst }: Rate) {
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  /** Whether it was no longer nearly full when something was last taken. */
  get isInUse(): boolean {
    return this.#tokens < this.#burst * NEARLY_FULL;
  }

  /** Takes so many, or nothing and gives the milliseconds until they are there. */
  take(count: number, now: number): number {
    const wait = this.lacks(count, now);
    if (wait === 0) this.#tokens -= count;
    return wait;
  }

  /** Takes them, whether or not they are there. */
  draw(count: number): void {
    this.#tokens -= count;
  }

  /** Milliseconds until it holds so many; 0 if it does now. */
  lacks(count: number, now: number): number {
    const passed = now - (this.#at ?? now);
    if (passed >= 0) {
      this.#tokens = Math.min(this.#burst, this.#tokens + passed * this.#perMs);
      this.#at = now;
    }
    const missing = count - this.#tokens;
    return missing < LEAST ? 0 : Math.ceil(missing / this.#perMs - LEAST);
  }
}

/** Two buckets: one for requests, one for bytes. */
export class Buckets {
  readonly requests: Bucket;
  readonly bytes: Bucket;

  private constructor(requests: Rate, bytes: Rate) {
    this.requests = new Bucket(requests);
    this.bytes = new Bucket(bytes);
  }

  /** What a session may always do; undefined if anything. */
  static ofSession(
    { messageRate, messageBurst, byteRate, byteBurst, maxFrame }: Config,
  ): Buckets | undefined {
    if (messageRate === 0) return undefined;
    return new Buckets(
      { perSecond: messageRate, burst: messageBurst },
      { perSecond: byteRate, burst: Math.max(byteBurst, FRAMES_AT_ONCE * maxFrame) },
    );
  }

  /** What a connection without a login may always do; undefined if anything. */
  static ofStranger({ unauthenticatedRate }: Config): Buckets | undefined {
    return unauthenticatedRate === 0
      ? undefined
      : Buckets.#of(unauthenticatedRate, STRANGER_BURST, BYTES_EACH);
  }

  /** What all sessions of a node may do together beyond their own; undefined if nothing. */
  static spareForSessions({ sharedRate }: Config): Buckets | undefined {
    return sharedRate === 0 ? undefined : Buckets.#of(sharedRate, SPARE_BURST, SPARE_BYTES_EACH);
  }

  /** What all connections without a login may do together beyond their own; undefined if nothing. */
  static spareForStrangers({ sharedRate }: Config): Buckets | undefined {
    return sharedRate === 0
      ? undefined
      : Buckets.#of(sharedRate * STRANGERS_PART, SPARE_BURST, SPARE_BYTES_EACH);
  }

  static #of(perSecond: number, seconds: number, bytesEach: number): Buckets {
    const burst = perSecond * seconds;
    return new Buckets(
      { perSecond, burst },
      { perSecond: perSecond * bytesEach, burst: burst * bytesEach },
    );
  }

  /** Takes a request of so many bytes and gives 0; or nothing, and the milliseconds until both are there. */
  take(cost: number, bytes: number, now: number): number {
    const wait = Math.max(this.requests.lacks(cost, now), this.bytes.lacks(bytes, now));
    if (wait === 0) this.draw(cost, bytes);
    return wait;
  }

  /** Takes them, whether or not they are there. */
  draw(cost: number, bytes: number): void {
    this.requests.draw(cost);
    this.bytes.draw(bytes);
  }
}

/**
 * What one client may do: what is its own, and what is spare of what all may. Times are by `performance.now`.
 */
export class Allowance {
  readonly #own: Buckets;
  readonly #spare: Buckets | undefined;
  readonly #refusals = new Bucket(REFUSALS);
  readonly #logins = new Bucket(LOGINS);

  constructor(own: Buckets, spare?: Buckets) {
    this.#own = own;
    this.#spare = spare;
  }

  /**
   * Takes a request that costs so much and has so many bytes, and gives 0; or nothing, and the milliseconds
   * until it will be its own: what is spare then is not known.
   */
  take(cost: number, bytes: number, now: number): number {
    const wait = this.#own.take(cost, bytes, now);
    return wait === 0 || this.#spare?.take(cost, bytes, now) === 0 ? 0 : wait;
  }

  /** Whether the client asks for so much that others with less to do go first. */
  get isBusy(): boolean {
    return this.#own.requests.isInUse || this.#own.bytes.isInUse;
  }

  /**
   * Takes what was not known before: what a request has cost beyond what was taken for it, or the bytes of
   * its answer, as large answers to small questions are work too. If it isn't there, what comes next waits
   * for it.
   */
  charge(cost: number, bytes: number, now: number): void {
    if (this.take(cost, bytes, now) === 0) return;
    if (this.#own.bytes.lacks(0, now) < OWED_MOST && this.#own.requests.lacks(0, now) < OWED_MOST) {
      this.overdraw(cost, bytes);
    }
  }

  /** Takes a request for which `take` said no: what comes next waits for that to be made up for. */
  overdraw(cost: number, bytes: number): void {
    this.#own.draw(cost, bytes);
  }

  /**
   * The user logs in. Gives whether that is so often that others go first: a login is as much work as many
   * messages.
   */
  logsInOften(now: number): boolean {
    return this.#logins.take(1, now) > 0;
  }

  /**
   * A request is refused. Gives the milliseconds for which nothing more should be read: refusing costs time
   * too, the more the larger the request is.
   */
  refused(bytes: number, now: number): number {
    const cost = Math.max(1, bytes / REFUSED_BYTES);
    const wait = this.#refusals.take(cost, now);
    if (wait > 0) this.#refusals.draw(cost);
    return wait;
  }
}

// users: as many as a node has connections; to be forgotten is to have a full allowance
const REMEMBERED = 20_000;

/**
 * The allowances of a node's users, which outlive their sessions: a user who comes back has no more than
 * before.
 */
export class Allowances {
  readonly #config: Config;
  readonly #spare: Buckets | undefined;
  readonly #spareForStrangers: Buckets | undefined;
  readonly #most: number;
  readonly #users = new Map<number, Allowance>();

  /** At most `most` users are remembered. */
  constructor(config: Config, most = REMEMBERED) {
    this.#config = config;
    this.#spare = Buckets.spareForSessions(config);
    this.#spareForStrangers = Buckets.spareForStrangers(config);
    this.#most = most;
  }

  /** A user's; undefined if anything is allowed. */
  ofUser(user: number): Allowance | undefined {
    let allowance = this.#users.get(user);
    // to stand behind the others, of whom the first is forgotten first
    if (allowance) this.#users.delete(user);
    else {
      const own = Buckets.ofSession(this.#config);
      if (!own) return undefined;
      allowance = new Allowance(own, this.#spare);
    }
    this.#users.set(user, allowance);
    if (this.#users.size > this.#most) this.#users.delete(this.#users.keys().next().value!);
    return allowance;
  }

  /** That of a connection without a login; undefined if anything is allowed. */
  ofStranger(): Allowance | undefined {
    const own = Buckets.ofStranger(this.#config);
    return own && new Allowance(own, this.#spareForStrangers);
  }
}
