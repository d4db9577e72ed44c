/** What the limits per address go by, and how many connections are open from each. */
import { isIPv4, isIPv6 } from "node:net";
import type { CidrList } from "../../wire/networks.ts";

const HEXTETS_OF_48 = 3; // what a site is given at the most: a customer may have any number of /64 in it
// of an IPv6 address's eight groups: a customer is given at least a /64, and may use all of it
const HEXTETS_OF_64 = 4;

/** The /96 networks whose last 32 bits are an IPv4 address. */
const IPV4_EMBEDDED_PREFIXES = [
  [0, 0, 0, 0, 0, 0xffff], // IPv4-mapped (RFC 4291, section 2.5.5.2)
  [0, 0, 0, 0, 0xffff, 0], // IPv4-translated, of SIIT (RFC 2765, section 2.1)
  [0x64, 0xff9b, 0, 0, 0, 0], // the well-known prefix of NAT64 and SIIT (RFC 6052, section 2.1)
];

/**
 * What an address is counted by: itself, the /64 that an IPv6 address is in, or the IPv4 address that is
 * written as an IPv6 one, or translated to one: all clients of a NAT64 share its /64. Undefined for what is
 * no address.
 */
export function rateLimitKey(host: string): string | undefined {
  if (isIPv4(host)) return host;
  if (!isIPv6(host)) return undefined;
  const hextets = hextetsOf(host);
  const isIPv4Embedded = IPV4_EMBEDDED_PREFIXES.some((prefix) =>
    prefix.every((group, at) => group === hextets[at])
  );
  if (isIPv4Embedded) return hextets.slice(6).flatMap((group) => [group >> 8, group & 0xff]).join(".");
  return hextets.slice(0, HEXTETS_OF_64).map((group) => group.toString(16)).join(":") + "::/64";
}

/** The network that an {@link rateLimitKey} is in: an IPv4 /24, or an IPv6 /48. */
export function networkKey(key: string): string {
  if (isIPv4(key)) return key.slice(0, key.lastIndexOf(".")) + ".0/24";
  return key.split(":").slice(0, HEXTETS_OF_48).join(":") + "::/48";
}

/**
 * What has the same owner as an {@link rateLimitKey}, as far as can be told: the IPv4 address itself, as its
 * neighbours are others', or the IPv6 /48.
 */
export function siteKey(key: string): string {
  return isIPv4(key) ? key : networkKey(key);
}

/** An IPv6 address's eight numbers. */
function hextetsOf(host: string): number[] {
  const [address] = host.split("%"); // a zone says where it is reached, not who it is
  const normalized = new URL(`http://[${address}]`).hostname.slice(1, -1); // without an IPv4 part
  const [front = "", back] = normalized.split("::");
  const numbers = (part = "") => part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const [first, last] = [numbers(front), numbers(back)];
  return [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
}

/** A connection's place among those of its address. */
export class ConnectionSlot {
  readonly #counts: Map<string, number>;
  #isReleased = false;

  /** `address`: what the limits per address count it by; undefined if they don't. */
  constructor(readonly key: string | undefined, counts: Map<string, number>) {
    this.#counts = counts;
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
  }

  /** The connection has ended; it may be said twice. */
  release(): void {
    if (this.#isReleased || this.key === undefined) return;
    this.#isReleased = true;
    const remaining = this.#counts.get(this.key)! - 1;
    if (remaining > 0) this.#counts.set(this.key, remaining);
    else this.#counts.delete(this.key);
  }
}

/** Counts the open connections of each address. */
export class ConnectionCounter {
  readonly #counts = new Map<string, number>(); // by addressKey
  readonly #maxPerAddress: number;
  readonly #exempt: readonly CidrList[];

  /** At most `most` connections from each; from those in `uncounted` any number. */
  constructor(maxPerAddress: number, exempt: readonly CidrList[]) {
    this.#maxPerAddress = maxPerAddress;
    this.#exempt = exempt;
  }

  /** From how many addresses connections are counted now. */
  get size(): number {
    return this.#counts.size;
  }

  /**
   * One more connection from this address, which counts in any case if `always`. Throws a {@link TooManyConnectionsError}
   * when there are as many as there may be.
   */
  acquire(host: string, ignoreExemptions = false): ConnectionSlot {
    const isExempt = !ignoreExemptions && this.#exempt.some((networks) => networks.contains(host));
    const key = isExempt ? undefined : rateLimitKey(host);
    if (key !== undefined && (this.#counts.get(key) ?? 0) >= this.#maxPerAddress) {
      throw new TooManyConnectionsError(key);
    }
    return new ConnectionSlot(key, this.#counts);
  }
}

/** An address has all the connections that it may have. */
export class TooManyConnectionsError extends Error {
  override readonly name = "TooManyConnectionsError";

  constructor(readonly address: string) {
    super(`too many connections from ${address}`);
  }
}
