/**
 * How often passwords may be tried and accounts be made, in the whole cluster: asked before anything is
 * hashed. While the other nodes can't be reached each node counts for itself, so that an outage opens no
 * gate.
 */
import { createHash } from "node:crypto";
import { KeyedRateLimiter } from "../../bus/gcra.ts";
import { type Bus, BusUnavailableError, type RateLimit } from "../../bus/bus.ts";
import type { Config } from "../../config/options.ts";
import { Errno } from "../../wire/protocol.ts";
import { AbandonedError } from "../../passwords/password_hasher.ts";
import { siteKey } from "./connection_counter.ts";
import { RequestError } from "../protocol/reply_body.ts";
import type { LoginPlace } from "./known_places.ts";

/**
 * Milliseconds that a client is told to wait at the most: what one attempt takes to come back with the
 * default limits. To ask too soon costs little, and the limits may have been raised by then.
 */
const MAX_RETRY_AFTER_MS = 60_000;

/** Characters of a name's hash in a bucket's name: 128 bits, so that no two names share a bucket. */
const NAME_HASH_LENGTH = 32;

/**
 * Wrong passwords for one account from all places that are not known to be its owner's, in times of those
 * from one of them; and in how many times {@link ThrottleLimits.attemptsWindow}. By default 100 an hour, as
 * OWASP ASVS 4 has it. It is more than one place can use up for long: 10 a while and 100 in 6 of them.
 */
const TOTAL_BURST_FACTOR = 10;
const TOTAL_PERIOD_FACTOR = 6;

/**
 * Wrong passwords from each of these places beyond that: others' guesses never lock an owner out of a new
 * place.
 */
const FALLBACK_BURST = 1;

/** The place of those whom the limits per address don't count. */
const EXEMPT = "exempt";

/** The limits. */
export type ThrottleLimits = Pick<
  Config,
  "maxFailedLogins" | "maxLoginsPerAddress" | "maxRegistrationsPerAddress" | "attemptsWindow"
>;

/**
 * A limit: the beginning of its buckets' names, how much they hold, and what is said when there is no more in
 * one.
 */
interface AttemptLimit {
  readonly kind: string;
  readonly rateLimit: RateLimit;
  readonly message: string;
}

const TOO_MANY_FAILED_PASSWORDS = "too many wrong passwords for this account";

/** Counts attempts. An address that isn't counted is undefined. */
export class LoginThrottle {
  readonly #bus: Pick<Bus, "tryConsume">;
  readonly #localLimiter = new KeyedRateLimiter();
  readonly #failedPasswords: AttemptLimit;
  readonly #failedPasswordsTotal: AttemptLimit;
  readonly #failedPasswordsFallback: AttemptLimit;
  readonly #logins: AttemptLimit;
  readonly #registrations: AttemptLimit;

  constructor(bus: Pick<Bus, "tryConsume">, limits: ThrottleLimits) {
    this.#bus = bus;
    const limit = (kind: string, burst: number, message: string, periods = 1): AttemptLimit => ({
      kind,
      rateLimit: { burst, periodMs: periods * limits.attemptsWindow },
      message,
    });
    this.#failedPasswords = limit("wrong", limits.maxFailedLogins, TOO_MANY_FAILED_PASSWORDS);
    this.#failedPasswordsTotal = limit(
      "total",
      TOTAL_BURST_FACTOR * limits.maxFailedLogins,
      TOO_MANY_FAILED_PASSWORDS,
      TOTAL_PERIOD_FACTOR,
    );
    this.#failedPasswordsFallback = limit("single", FALLBACK_BURST, TOO_MANY_FAILED_PASSWORDS);
    this.#logins = limit(
      "login",
      limits.maxLoginsPerAddress,
      "too many logins by password from this address",
    );
    this.#registrations = limit(
      "register",
      limits.maxRegistrationsPerAddress,
      "too many registrations from this address",
    );
  }

  /**
   * Carries out a login by password, and counts it for the address whatever comes of it; but not if it fails
   * by no fault of the client's. Like what follows, it throws a {@link RequestError} instead when there were
   * too many.
   */
  login<T>(address: string | undefined, work: () => Promise<T>): Promise<T> {
    return this.#chargeAddress(this.#logins, address, work);
  }

  /** Makes an account's password hash, and counts it for the address. */
  register<T>(address: string | undefined, hash: () => Promise<T>): Promise<T> {
    return this.#chargeAddress(this.#registrations, address, hash);
  }

  /**
   * Checks a password, and counts it if it was wrong. It is counted before, so that checks at the same time
   * can't be more either. `account` is what the client calls it by, its id or its name: the count tells
   * neither whether there is such an account nor which name an id has. A known place has a count of its own.
   * All others' count together as well, and where that is used up each of them may be wrong once.
   */
  check<T extends { readonly valid: boolean }>(
    account: number | string,
    place: Pick<LoginPlace, "address" | "knownBy">,
    check: () => Promise<T>,
  ): Promise<T> {
    const name = typeof account === "number" ? `${account}` : hashName(account);
    const source = place.knownBy ?? (place.address === undefined ? EXEMPT : siteKey(place.address));
    const consume = async () => {
      const refund = await this.#consume(this.#failedPasswords, `${name}/${source}`);
      if (place.knownBy !== undefined) return refund;
      try {
        const refundTotal = await this.#consumeTotal(name, source);
        return async () => {
          await refund();
          await refundTotal();
        };
      } catch (error) {
        await refund();
        throw error;
      }
    };
    return withRefund(consume, check, ({ valid }) => !valid, (error) => error instanceof RequestError);
  }

  #chargeAddress<T>(limit: AttemptLimit, address: string | undefined, work: () => Promise<T>): Promise<T> {
    if (address === undefined) return work();
    const isCharged = (error: unknown) => error instanceof RequestError || error instanceof AbandonedError;
    return withRefund(() => this.#consume(limit, address), work, () => true, isCharged);
  }

  /**
   * Takes one of all places' wrong passwords for the account, or else the one that this place has of its own.
   */
  async #consumeTotal(account: string, source: string): Promise<Refund> {
    const result = await this.#tryConsume(this.#failedPasswordsTotal, account);
    return typeof result === "number"
      ? await this.#consume(this.#failedPasswordsFallback, `${account}/${source}`)
      : result;
  }

  /** Takes one. Throws a {@link RequestError} if there is none. */
  async #consume(limit: AttemptLimit, name: string): Promise<Refund> {
    const result = await this.#tryConsume(limit, name);
    if (typeof result !== "number") return result;
    throw new RequestError(Errno.RATE_LIMITED, limit.message, Math.min(result, MAX_RETRY_AFTER_MS));
  }

  /** Takes one, or gives the milliseconds until there is one. */
  async #tryConsume({ kind, rateLimit }: AttemptLimit, name: string): Promise<Refund | number> {
    const bucket = `${kind}:${name}`;
    let limiter: Pick<Bus, "tryConsume"> | KeyedRateLimiter = this.#bus;
    let wait: number;
    try {
      wait = await this.#bus.tryConsume(bucket, rateLimit, 1);
    } catch (error) {
      if (!(error instanceof BusUnavailableError)) throw error;
      limiter = this.#localLimiter;
      wait = this.#localLimiter.tryConsume(bucket, rateLimit, 1);
    }
    if (wait > 0) return wait;
    return async () => {
      try {
        await limiter.tryConsume(bucket, rateLimit, -1);
      } catch (error) {
        if (!(error instanceof BusUnavailableError)) throw error; // else it is lost, and comes back by and by
      }
    };
  }
}

/** Gives back what was taken, to where it was taken from. */
type Refund = () => Promise<void>;

/** Does work for which one is taken, and gives it back unless the result, or the error, counts. */
async function withRefund<T>(
  consume: () => Promise<Refund>,
  work: () => Promise<T>,
  charges: (result: T) => boolean,
  chargesError: (error: unknown) => boolean,
): Promise<T> {
  const refund = await consume();
  let isCharged = false;
  try {
    const result = await work();
    isCharged = charges(result);
    return result;
  } catch (error) {
    isCharged = chargesError(error);
    throw error;
  } finally {
    if (!isCharged) await refund();
  }
}

/** A name as a part of a bucket's: short, and of plain characters only. */
function hashName(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, NAME_HASH_LENGTH);
}
