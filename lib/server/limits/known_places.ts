/**
 * The known places of a user: addresses and devices from which the user has logged in before. A known place
 * has login attempts of its own, which other clients cannot use up, and its passwords are hashed first. This
 * extends OWASP's device cookies to addresses.
 */
import { Buffer } from "node:buffer";
import { BoundedMap } from "../../bounded_map.ts";
import { KeyedRateLimiter } from "../../bus/gcra.ts";
import type { RateLimit } from "../../bus/bus.ts";
import type { Standing } from "../../passwords/password_hasher.ts";

/**
 * Known addresses of all users, some 10 MB of them. Beyond that, the one that was used the longest ago is
 * evicted.
 */
const MAX_PLACES = 100_000;

/**
 * Logins by password from a known place that are hashed first: five in ten minutes, more than a person needs.
 */
const PRIORITY_LOGIN_RATE: RateLimit = { burst: 5, periodMs: 600_000 };

/** The place from which a password is tried. */
export interface LoginPlace {
  /** The key of the limits per address; undefined if the client is exempt. */
  readonly address: string | undefined;
  /** The known device or address; undefined if the place is not known. */
  readonly knownBy: string | undefined;
  readonly standing: Standing;
}

/** Known addresses on this node. Other nodes do not share them, and a restart forgets them. */
export class KnownPlaces {
  readonly #places: BoundedMap<string, true>;
  readonly #priorityLogins = new KeyedRateLimiter();

  /** `max` is the most known addresses of all users. */
  constructor(max = MAX_PLACES) {
    this.#places = new BoundedMap(max);
  }

  /** Adds the address from which a user has authenticated, if it is not exempt. */
  add(user: number, address: string | undefined): void {
    if (address === undefined) return;
    this.#places.set(placeKey(user, address), true);
  }

  /**
   * Returns the place of a login by password, and counts that login. `user` is undefined if the user is
   * unknown, `device` if the client has no device cookie of the user.
   */
  get(user: number | undefined, address: string | undefined, device?: Uint8Array): LoginPlace {
    if (user !== undefined && device) {
      const knownBy = `device ${Buffer.from(device).toString("hex")}`;
      // All devices of a user count together, because each login can create another one.
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
