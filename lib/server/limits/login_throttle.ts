/**
 * How often passwords may be tried and accounts be made, in the whole cluster: asked before anything is
 * hashed. While the other nodes can't be reached each node counts for itself, so that an outage opens no
 * gate.
 */
import { createHash } from "node:crypto";
import { NamedBuckets } from "../../bus/gcra.ts";
import { type Bus, BusUnavailable, type Quota } from "../../bus/bus.ts";
import type { Config } from "../../config/options.ts";
import { Errno } from "../../wire/protocol.ts";
import { AbandonedError } from "../../passwords/password_hasher.ts";
import { siteKey } from "./connection_counter.ts";
import { RequestError } from "../protocol/reply_body.ts";
import type { Place } from "./known_places.ts";

/**
 * Milliseconds that a client is told to wait at the most: what one attempt takes to come back with the
 * default limits. To ask too soon costs little, and the limits may have been raised by then.
 */
const WAIT_AT_MOST = 60_000;

/** Characters of a name's hash in a bucket's name: 128 bits, so that no two names share a bucket. */
const HASH = 32;

/**
 * Wrong passwords for one account from all places that are not known to be its owner's, in times of those
 * from one of them; and in how many times {@link AttemptLimits.attemptsWindow}. By default 100 an hour, as
 * OWASP ASVS 4 has it. It is more than one place can use up for long: 10 a while and 100 in 6 of them.
 */
const TOTAL_SIZE = 10;
const TOTAL_WITHIN = 6;

/**
 * Wrong passwords from each of these places beyond that: others' guesses never lock an owner out of a new
 * place.
 */
const SINGLE = 1;

/** The place of those whom the limits per address don't count. */
const EXEMPT = "exempt";

/** The limits. */
export type AttemptLimits = Pick<
  Config,
  "maxFailedLogins" | "maxLoginsPerAddress" | "maxRegistrationsPerAddress" | "attemptsWindow"
>;

/**
 * A limit: the beginning of its buckets' names, how much they hold, and what is said when there is no more in
 * one.
 */
interface Limit {
  readonly kind: string;
  readonly quota: Quota;
  readonly words: string;
}

const WRONG = "too many wrong passwords for this account";

/** Counts attempts. An address that isn't counted is undefined. */
export class Attempts {
  readonly #bus: Pick<Bus, "spend">;
  readonly #own = new NamedBuckets();
  readonly #wrong: Limit;
  readonly #total: Limit;
  readonly #single: Limit;
  readonly #logins: Limit;
  readonly #registrations: Limit;

  constructor(bus: Pick<Bus, "spend">, limits: AttemptLimits) {
    this.#bus = bus;
    const limit = (kind: string, size: number, words: string, times = 1): Limit => ({
      kind,
      quota: { size, within: times * limits.attemptsWindow },
      words,
    });
    this.#wrong = limit("wrong", limits.maxFailedLogins, WRONG);
    this.#total = limit("total", TOTAL_SIZE * limits.maxFailedLogins, WRONG, TOTAL_WITHIN);
    this.#single = limit("single", SINGLE, WRONG);
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
  login<T>(address: string | undefined, login: () => Promise<T>): Promise<T> {
    return this.#countAddress(this.#logins, address, login);
  }

  /** Makes an account's password hash, and counts it for the address. */
  register<T>(address: string | undefined, hash: () => Promise<T>): Promise<T> {
    return this.#countAddress(this.#registrations, address, hash);
  }

  /**
   * Checks a password, and counts it if it was wrong. It is counted before, so that checks at the same time
   * can't be more either. `account` is what the client calls it by, its id or its name: the count tells
   * neither whether there is such an account nor which name an id has. A known place has a count of its own.
   * All others' count together as well, and where that is used up each of them may be wrong once.
   */
  check<T extends { readonly right: boolean }>(
    account: number | string,
    place: Pick<Place, "address" | "knownBy">,
    check: () => Promise<T>,
  ): Promise<T> {
    const name = typeof account === "number" ? `${account}` : digest(account);
    const from = place.knownBy ?? (place.address === undefined ? EXEMPT : siteKey(place.address));
    const take = async () => {
      const giveBack = await this.#take(this.#wrong, `${name}/${from}`);
      if (place.knownBy !== undefined) return giveBack;
      try {
        const giveBackTotal = await this.#takeOf(name, from);
        return async () => {
          await giveBack();
          await giveBackTotal();
        };
      } catch (error) {
        await giveBack();
        throw error;
      }
    };
    return count(take, check, ({ right }) => !right, (error) => error instanceof RequestError);
  }

  #countAddress<T>(limit: Limit, address: string | undefined, work: () => Promise<T>): Promise<T> {
    if (address === undefined) return work();
    const isCounted = (error: unknown) => error instanceof RequestError || error instanceof AbandonedError;
    return count(() => this.#take(limit, address), work, () => true, isCounted);
  }

  /**
   * Takes one of all places' wrong passwords for the account, or else the one that this place has of its own.
   */
  async #takeOf(account: string, from: string): Promise<GiveBack> {
    const taken = await this.#try(this.#total, account);
    return typeof taken === "number" ? await this.#take(this.#single, `${account}/${from}`) : taken;
  }

  /** Takes one. Throws a {@link RequestError} if there is none. */
  async #take(limit: Limit, name: string): Promise<GiveBack> {
    const taken = await this.#try(limit, name);
    if (typeof taken !== "number") return taken;
    throw new RequestError(Errno.RATE_LIMITED, limit.words, Math.min(taken, WAIT_AT_MOST));
  }

  /** Takes one, or gives the milliseconds until there is one. */
  async #try({ kind, quota }: Limit, name: string): Promise<GiveBack | number> {
    const bucket = `${kind}:${name}`;
    let from: Pick<Bus, "spend"> | NamedBuckets = this.#bus;
    let wait: number;
    try {
      wait = await this.#bus.spend(bucket, quota, 1);
    } catch (error) {
      if (!(error instanceof BusUnavailable)) throw error;
      from = this.#own;
      wait = this.#own.spend(bucket, quota, 1);
    }
    if (wait > 0) return wait;
    return async () => {
      try {
        await from.spend(bucket, quota, -1);
      } catch (error) {
        if (!(error instanceof BusUnavailable)) throw error; // else it is lost, and comes back by and by
      }
    };
  }
}

/** Gives back what was taken, to where it was taken from. */
type GiveBack = () => Promise<void>;

/** Does work for which one is taken, and gives it back unless the result, or the error, counts. */
async function count<T>(
  take: () => Promise<GiveBack>,
  work: () => Promise<T>,
  counts: (result: T) => boolean,
  countsError: (error: unknown) => boolean,
): Promise<T> {
  const giveBack = await take();
  let isCounted = false;
  try {
    const result = await work();
    isCounted = counts(result);
    return result;
  } catch (error) {
    isCounted = countsError(error);
    throw error;
  } finally {
    if (!isCounted) await giveBack();
  }
}

/** A name as a part of a bucket's: short, and of plain characters only. */
function digest(name: string): string {
  return createHash("sha256").update(name).digest("hex").slice(0, HASH);
}
