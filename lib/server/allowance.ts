/** How much a client may ask for. Beyond it, it is told to come again later, or simply not read for a while. */
import type { Config } from "../config/options.ts";

/** What may be done per second for long, and at once after a rest. */
interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

const BYTES_EACH = 1_024; // of a request on average, where only requests per second are configured
const STRANGER_BURST = 2; // seconds' worth: a login and what may go in front of it
const SPARE_BURST = 0.2; // seconds' worth: what a busy client gets ahead, others may have to wait for
const STRANGERS_PART = 0.2; // of what is spare for sessions, strangers have as much together, of their own
const LEAST = 1e-6; // of a request or a byte: less is what adding up has got wrong
const FRAMES_AT_ONCE = 2; // of the largest that are taken: one that never could be would be sent again for ever
const REFUSALS: Rate = { perSecond: 5, burst: 32 }; // what was on its way, and not a flood

/** A bucket that fills steadily. It may be overdrawn, and holds nothing then until that has been made up for. */
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
  static ofStranger({ strangerRate }: Config): Buckets | undefined {
    return strangerRate === 0 ? undefined : Buckets.#ofRequests(strangerRate, STRANGER_BURST);
  }

  /** What all sessions of a node may do together beyond their own; undefined if nothing. */
  static spareForSessions({ spareRate }: Config): Buckets | undefined {
    return spareRate === 0 ? undefined : Buckets.#ofRequests(spareRate, SPARE_BURST);
  }

  /** What all connections without a login may do together beyond their own; undefined if nothing. */
  static spareForStrangers({ spareRate }: Config): Buckets | undefined {
    return spareRate === 0 ? undefined : Buckets.#ofRequests(spareRate * STRANGERS_PART, SPARE_BURST);
  }

  static #ofRequests(perSecond: number, seconds: number): Buckets {
    const burst = perSecond * seconds;
    return new Buckets(
      { perSecond, burst },
      { perSecond: perSecond * BYTES_EACH, burst: burst * BYTES_EACH },
    );
  }
}

/** What one client may do: what is its own, and what is spare of what all may. Times are by `performance.now`. */
export class Allowance {
  readonly #own: Buckets;
  readonly #spare: Buckets | undefined;
  readonly #refusals = new Bucket(REFUSALS);
  #isSpare = false;

  constructor(own: Buckets, spare?: Buckets) {
    this.#own = own;
    this.#spare = spare;
  }

  /** Bytes have come. Gives the milliseconds for which no more should be read if they didn't even make a request. */
  heard(bytes: number, now: number): number {
    const own = this.#own.bytes;
    if (own.take(bytes, now) === 0 || this.#spare?.bytes.take(bytes, now) === 0) return 0;
    own.draw(bytes);
    return own.lacks(0, now);
  }

  /** A reply of so many bytes was made: large answers to small questions count as much as large questions. */
  answered(bytes: number, now: number): void {
    this.heard(bytes, now);
  }

  /**
   * Takes a request that costs so much, and gives 0; or nothing, and the milliseconds until it will be its own: what is
   * spare then nobody knows.
   */
  take(cost: number, now: number): number {
    const owed = this.#own.bytes.lacks(0, now);
    if (owed > 0) return owed;
    const wait = this.#own.requests.take(cost, now);
    this.#isSpare = wait > 0;
    return wait === 0 || this.#spare?.requests.take(cost, now) === 0 ? 0 : wait;
  }

  /** Whether what was taken last was beyond its own. */
  get isSpare(): boolean {
    return this.#isSpare;
  }

  /** Takes what a request has cost beyond what was taken for it before; what comes next waits for it if it must. */
  charge(cost: number, now: number): void {
    if (this.take(cost, now) > 0) this.overdraw(cost);
  }

  /** Takes a request for which `take` said no: what comes next waits for that to be made up for. */
  overdraw(cost: number): void {
    this.#own.requests.draw(cost);
  }

  /**
   * A request is refused. Gives the milliseconds for which nothing more should be read: refusing costs time too, and
   * as much as carrying out where the request is large.
   */
  refused(now: number): number {
    const wait = this.#refusals.take(1, now);
    if (wait > 0) this.#refusals.draw(1);
    return Math.max(wait, this.#own.bytes.lacks(0, now));
  }
}
