/**
 * From where, or by which device, a user has logged in before: such a place has attempts of its own, which no
 * other client can use up, and its passwords are hashed first. As OWASP's device cookies, but that the
 * address counts as well.
 */
import { Buffer } from "node:buffer";
import { BoundedMap } from "../../bounded_map.ts";
import { KeyedRateLimiter } from "../../bus/gcra.ts";
import type { RateLimit } from "../../bus/bus.ts";
import type { Standing } from "../../passwords/password_hasher.ts";

/**
 * Users' addresses that a node remembers, some 10 MB of them; then the one that was seen the longest ago is
 * forgotten. A forgotten one is a new one.
 */
const MAX_PLACES = 100_000;

/**
 * Logins by password of a user from a known place that go before others' in ten minutes: a person needs
 * fewer.
 */
const PRIORITY_LOGIN_RATE: RateLimit = { burst: 5, periodMs: 600_000 };

/** Whose password is tried, and from where. */
export interface LoginPlace {
  /** What the limits per address count it by; undefined if they don't. */
  readonly address: string | undefined;
  /** By what it is known to be the user's; undefined if it isn't. */
  readonly knownBy: string | undefined;
  readonly standing: Standing;
}

/**
 * Remembers the addresses of users on this node: another node, or a restarted one, knows none of them yet.
 */
export class KnownPlaces {
  readonly #places: BoundedMap<string, true>;
  readonly #priorityLogins = new KeyedRateLimiter();

  /** At most `max` are remembered. */
  constructor(max = MAX_PLACES) {
    this.#places = new BoundedMap(max);
  }

  /** The user has proved to be it, from this address; undefined is none. */
  add(user: number, address: string | undefined): void {
    if (address === undefined) return;
    this.#places.set(placeKey(user, address), true);
  }

  /**
   * The place of a login by password, which counts among the user's. `user` is undefined if there is no such
   * user, `device` if the client has shown none of the user's.
   */
  get(user: number | undefined, address: string | undefined, device?: Uint8Array): LoginPlace {
    if (user !== undefined && device) {
      const knownBy = `device ${Buffer.from(device).toString("hex")}`;
      // of all: each login makes another one
      return { address, knownBy, standing: this.#standing(user, "device") };
    }
    if (user === undefined || address === undefined || !this.#places.has(placeKey(user, address))) {
      return { address, knownBy: undefined, standing: "new" };
    }
    const knownBy = `address ${address}`;
    return { address, knownBy, standing: this.#standing(user, knownBy) };
  }

  #standing(user: number, place: string): Standing {
    return this.#priorityLogins.tryConsume(placeKey(user, place), PRIORITY_LOGIN_RATE, 1) === 0
      ? "known"
      : "frequent";
  }
}

function placeKey(user: number, place: string): string {
  return `${user}/${place}`;
}
