/**
 * How often passwords may be tried and accounts be made, in the whole cluster: asked before anything is hashed. While
 * the other nodes can't be reached each node counts for itself, so that an outage opens no gate.
 */
import { createHash } from "node:crypto";
import { NamedBuckets } from "../bus/buckets.ts";
import { type Bus, BusUnavailable, type Quota } from "../bus/bus.ts";
import type { Config } from "../config/options.ts";
import { Errno } from "../wire/protocol.ts";
import { RequestError } from "./answer.ts";

/**
 * Milliseconds that a client is told to wait at the most: what one attempt takes to come back with the default limits.
 * To ask too soon costs little, and the limits may have been raised by then.
 */
const WAIT_AT_MOST = 60_000;

/** Characters of a name's hash in a bucket's name: 128 bits, so that no two names share a bucket. */
const HASH = 32;

/** The limits. */
export type AttemptLimits = Pick<
  Config,
  "accountAttempts" | "addressAttempts" | "addressRegistrations" | "attemptsWithin"
>;

/** A limit: the beginning of its buckets' names, how much they hold, and what is said when there is no more in one. */
interface Limit {
  readonly kind: string;
  readonly quota: Quota;
  readonly words: string;
}

/** Counts attempts. An address that isn't counted is undefined. */
export class Attempts {
  readonly #bus: Pick<Bus, "spend">;
  readonly #own = new NamedBuckets();
  readonly #wrong: Limit;
  readonly #logins: Limit;
  readonly #registrations: Limit;

  constructor(bus: Pick<Bus, "spend">, limits: AttemptLimits) {
    this.#bus = bus;
    const limit = (kind: string, size: number, words: string): Limit => ({
      kind,
      quota: { size, within: limits.attemptsWithin },
      words,
    });
    this.#wrong = limit("wrong", limits.accountAttempts, "too many wrong passwords for this account");
    this.#logins = limit("login", limits.addressAttempts, "too many logins by password from this address");
    this.#registrations = limit(
      "register",
      limits.addressRegistrations,
      "too many registrations from this address",
    );
  }

  /**
   * Carries out a login by password, and counts it for the address whatever comes of it; but not if it fails by no
   * fault of the client's. Like what follows, it throws a {@link RequestError} instead when there were too many.
   */
  login<T>(address: string | undefined, login: () => Promise<T>): Promise<T> {
    return this.#count(this.#logins, address, login, () => true);
  }

  /** Makes an account's password hash, and counts it for the address. */
  register<T>(address: string | undefined, hash: () => Promise<T>): Promise<T> {
    return this.#count(this.#registrations, address, hash, () => true);
  }

  /**
   * Checks a password, and counts it for the account if it was wrong. It is counted before, so that checks at the same
   * time can't be more either. `account` is an id, or a name that no account has: both are treated alike.
   */
  check<T extends { readonly right: boolean }>(
    account: number | string,
    check: () => Promise<T>,
  ): Promise<T> {
    const name = typeof account === "number" ? `${account}` : digest(account);
    return this.#count(this.#wrong, name, check, ({ right }) => !right);
  }

  async #count<T>(
    limit: Limit,
    name: string | undefined,
    work: () => Promise<T>,
    counts: (result: T) => boolean,
  ): Promise<T> {
    if (name === undefined) return await work();
    const giveBack = await this.#take(limit, `${limit.kind}:${name}`);
    let isCounted = false;
    try {
      const result = await work();
      isCounted = counts(result);
      return result;
    } catch (error) {
      isCounted = error instanceof RequestError;
      throw error;
    } finally {
      if (!isCounted) await giveBack();
    }
  }

  /** Takes one, from where it is to be given back to. */
  async #take({ quota, words }: Limit, bucket: string): Promise<() => Promise<void>> {
    let from: Pick<Bus, "spend"> | NamedBuckets = this.#bus;
    let wait: number;
    try {
      wait = await this.#bus.spend(bucket, quota, 1);
    } catch (error) {
      if (!(error instanceof BusUnavailable)) throw error;
      from = this.#own;
      wait = this.#own.spend(bucket, quota, 1);
    }
    if (wait > 0) throw new RequestError(Errno.RATE_LIMITED, words, Math.min(wait, WAIT_AT_MOST));
    return async () => {
      try {
        await from.spend(bucket, quota, -1);
      } catch (error) {
        if (!(error instanceof BusUnavailable)) throw error; // else it is lost, and comes back by and by
      }
    };
  }
}

/** A name as a part of a bucket's: short, and of plain characters only. */
function digest(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, HASH);
}
