/**
 * Limits on logins by password and on registrations, in the whole cluster. They are checked before a password
 * is hashed. While the bus is unavailable each node counts by itself, so that an outage does not lift the
 * limits.
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
 * The most milliseconds in `retry_after`: the time in which one attempt is refilled with the default limits.
 * A retry costs little, and the limits may be raised meanwhile.
 */
const MAX_RETRY_AFTER_MS = 60_000;

/** Hex digits of a name's hash in a bucket's name: 128 bits, so that no two names share a bucket. */
const NAME_HASH_LENGTH = 32;

/**
 * The limit on wrong passwords for one account from all unknown places together. It is given as factors of
 * the limit per place and of {@link ThrottleLimits.attemptsWindow}. By default it is 100 an hour, as in OWASP
 * ASVS 4. One place alone gets 60 an hour, and so cannot use it up.
 */
const TOTAL_BURST_FACTOR = 10;
const TOTAL_PERIOD_FACTOR = 6;

/**
 * Wrong passwords that each unknown place may send when the account's total is used up. So an attacker never
 * locks the owner out at a new place.
 */
const FALLBACK_BURST = 1;

/** The place of all clients that are exempt from the limits per address. */
const EXEMPT = "exempt";

/** The configured limits. */
export type ThrottleLimits = Pick<
  Config,
  "maxFailedLogins" | "maxLoginsPerAddress" | "maxRegistrationsPerAddress" | "attemptsWindow"
>;

/** A limit: the prefix of its buckets' names, the rate, and the error message when it is exceeded. */
interface AttemptLimit {
  readonly kind: string;
  readonly rateLimit: RateLimit;
  readonly message: string;
}

const TOO_MANY_FAILED_PASSWORDS = "too many wrong passwords for this account";

/**
 * The counters of logins, registrations and wrong passwords. The address of an exempt client is undefined.
 */
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
   * Runs `work`, a login by password, and counts it for the address. A login that fails by a fault of the
   * server is refunded. Rejects with a {@link RequestError} if the limit is exceeded.
   */
  login<T>(address: string | undefined, work: () => Promise<T>): Promise<T> {
    return this.#chargeAddress(this.#logins, address, work);
  }

  /**
   * Runs `hash`, the hashing of a new account's password, and counts a registration for the address. Refunds
   * and rejects as {@link login}.
   */
  register<T>(address: string | undefined, hash: () => Promise<T>): Promise<T> {
    return this.#chargeAddress(this.#registrations, address, hash);
  }

  /**
   * Runs `check`, the check of a password, and counts it if the password is wrong. The attempt is counted
   * before the check, and refunded after it if the password is right, so that concurrent checks cannot exceed
   * the limit. `account` is the id or name in the request, whether or not such an account exists. So the
   * counts reveal neither its existence nor which id has which name. Each place has a count of its own.
   * Unknown places also share a total for the account. When the total is used up, each unknown place has
   * {@link FALLBACK_BURST} attempts left. Rejects with a {@link RequestError} if a limit is exceeded.
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
        return async () => void await Promise.all([refund(), refundTotal()]);
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

  /** Consumes an attempt of the account's total or, if that is used up, of this place's fallback. */
  async #consumeTotal(account: string, source: string): Promise<Refund> {
    const result = await this.#tryConsume(this.#failedPasswordsTotal, account);
    return typeof result === "number"
      ? await this.#consume(this.#failedPasswordsFallback, `${account}/${source}`)
      : result;
  }

  /** Consumes one attempt. Throws a {@link RequestError} if the limit is exceeded. */
  async #consume(limit: AttemptLimit, name: string): Promise<Refund> {
    const result = await this.#tryConsume(limit, name);
    if (typeof result !== "number") return result;
    throw new RequestError(Errno.RATE_LIMITED, limit.message, Math.min(result, MAX_RETRY_AFTER_MS));
  }

  /** Consumes one attempt and returns its refund, or else the milliseconds until there is one. */
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
        if (!(error instanceof BusUnavailableError)) throw error; // the attempt is lost, and refilled in time
      }
    };
  }
}

/** Refunds an attempt to the limiter from which it was consumed. */
type Refund = () => Promise<void>;

/** Consumes an attempt and runs the work. Refunds the attempt unless the result, or the error, is charged. */
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

/** Returns a hash of a name for a bucket's name: short, and without special characters. */
function hashName(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, NAME_HASH_LENGTH);
}
