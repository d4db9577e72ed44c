/** The keys of the limits per address, and the number of open connections per key. */
import { isIPv4, isIPv6 } from "node:net";
import type { CidrList } from "../../wire/networks.ts";

/** The hextets of a /48: the largest prefix that a site gets. A customer may have any number of /64 in it. */
const HEXTETS_OF_48 = 3;
/**
 * The hextets of a /64: the smallest prefix that a customer gets. The customer may use all of its addresses.
 */
const HEXTETS_OF_64 = 4;

/** The /96 networks whose last 32 bits are an IPv4 address. */
const IPV4_EMBEDDED_PREFIXES = [
  [0, 0, 0, 0, 0, 0xffff], // IPv4-mapped (RFC 4291, section 2.5.5.2)
  [0, 0, 0, 0, 0xffff, 0], // IPv4-translated, of SIIT (RFC 2765, section 2.1)
  [0x64, 0xff9b, 0, 0, 0, 0], // the well-known prefix of NAT64 and SIIT (RFC 6052, section 2.1)
];

/**
 * Returns the key by which an address is counted: an IPv4 address, or the /64 of an IPv6 address. An IPv4
 * address that is mapped or translated to IPv6 counts as IPv4, because all clients of a NAT64 share its /64.
 * Returns undefined if `host` is no address.
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

/** Returns the network of a {@link rateLimitKey}: an IPv4 /24, or an IPv6 /48. */
export function networkKey(key: string): string {
  if (isIPv4(key)) return key.slice(0, key.lastIndexOf(".")) + ".0/24";
  return key.split(":").slice(0, HEXTETS_OF_48).join(":") + "::/48";
}

/**
 * Returns the site of a {@link rateLimitKey}, which probably has one owner: the IPv4 address itself, or the
 * IPv6 /48.
 */
export function siteKey(key: string): string {
  return isIPv4(key) ? key : networkKey(key);
}

/** Returns the eight numbers of an IPv6 address. */
function hextetsOf(host: string): number[] {
  const [address] = host.split("%"); // the zone does not belong to the address
  const normalized = new URL(`http://[${address}]`).hostname.slice(1, -1); // without an IPv4 part
  const [front = "", back] = normalized.split("::");
  const numbers = (part = "") => part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const [first, last] = [numbers(front), numbers(back)];
  return [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
}

/** A connection's slot among those of its address. */
export class ConnectionSlot {
  readonly #counts: Map<string, number>;
  #isReleased = false;

  /**
   * `key` is the {@link rateLimitKey}, or undefined if the connection is exempt from the limits per address.
   */
  constructor(readonly key: string | undefined, counts: Map<string, number>) {
    this.#counts = counts;
    if (key !== undefined) counts.set(key, (counts.get(key) ?? 0) + 1);
  }

  /** Releases the slot, when the connection has ended. Further calls do nothing. */
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
  readonly #counts = new Map<string, number>(); // by rateLimitKey
  readonly #maxPerAddress: number;
  readonly #exempt: readonly CidrList[];

  /** Addresses in `exempt` may have any number of connections. */
  constructor(maxPerAddress: number, exempt: readonly CidrList[]) {
    this.#maxPerAddress = maxPerAddress;
    this.#exempt = exempt;
  }

  /** The number of addresses with counted connections. */
  get size(): number {
    return this.#counts.size;
  }

  /**
   * Counts one more connection from an address. With `ignoreExemptions` it counts an exempt address, too.
   * Throws a {@link TooManyConnectionsError} if the address is at its limit.
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

/** The error when an address is at its limit of connections. */
export class TooManyConnectionsError extends Error {
  override readonly name = "TooManyConnectionsError";

  constructor(readonly address: string) {
    super(`too many connections from ${address}`);
  }
}
