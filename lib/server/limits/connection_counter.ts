/** What the limits per address go by, and how many connections are open from each. */
import { isIPv4, isIPv6 } from "node:net";
import type { Networks } from "../../wire/networks.ts";

const GROUPS_OF_48 = 3; // what a site is given at the most: a customer may have any number of /64 in it
// of an IPv6 address's eight groups: a customer is given at least a /64, and may use all of it
const GROUPS_OF_64 = 4;

/** The /96 networks whose last 32 bits are an IPv4 address. */
const WITH_IPV4 = [
  [0, 0, 0, 0, 0, 0xffff], // IPv4-mapped (RFC 4291, section 2.5.5.2)
  [0, 0, 0, 0, 0xffff, 0], // IPv4-translated, of SIIT (RFC 2765, section 2.1)
  [0x64, 0xff9b, 0, 0, 0, 0], // the well-known prefix of NAT64 and SIIT (RFC 6052, section 2.1)
];

/**
 * What an address is counted by: itself, the /64 that an IPv6 address is in, or the IPv4 address that is
 * written as an IPv6 one, or translated to one: all clients of a NAT64 share its /64. Undefined for what is
 * no address.
 */
export function addressKey(host: string): string | undefined {
  if (isIPv4(host)) return host;
  if (!isIPv6(host)) return undefined;
  const groups = groupsOf(host);
  const isIPv4Inside = WITH_IPV4.some((prefix) => prefix.every((group, at) => group === groups[at]));
  if (isIPv4Inside) return groups.slice(6).flatMap((group) => [group >> 8, group & 0xff]).join(".");
  return groups.slice(0, GROUPS_OF_64).map((group) => group.toString(16)).join(":") + "::/64";
}

/** The network that an {@link addressKey} is in: an IPv4 /24, or an IPv6 /48. */
export function networkKey(address: string): string {
  if (isIPv4(address)) return address.slice(0, address.lastIndexOf(".")) + ".0/24";
  return address.split(":").slice(0, GROUPS_OF_48).join(":") + "::/48";
}

/**
 * What has the same owner as an {@link addressKey}, as far as can be told: the IPv4 address itself, as its
 * neighbours are others', or the IPv6 /48.
 */
export function siteKey(address: string): string {
  return isIPv4(address) ? address : networkKey(address);
}

/** An IPv6 address's eight numbers. */
function groupsOf(host: string): number[] {
  const [address] = host.split("%"); // a zone says where it is reached, not who it is
  const written = new URL(`http://[${address}]`).hostname.slice(1, -1); // without an IPv4 part
  const [front = "", back] = written.split("::");
  const numbers = (part = "") => part === "" ? [] : part.split(":").map((group) => parseInt(group, 16));
  const [first, last] = [numbers(front), numbers(back)];
  return [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last];
}

/** A connection's place among those of its address. */
export class Place {
  readonly #open: Map<string, number>;
  #isLeft = false;

  /** `address`: what the limits per address count it by; undefined if they don't. */
  constructor(readonly address: string | undefined, open: Map<string, number>) {
    this.#open = open;
    if (address !== undefined) open.set(address, (open.get(address) ?? 0) + 1);
  }

  /** The connection has ended; it may be said twice. */
  leave(): void {
    if (this.#isLeft || this.address === undefined) return;
    this.#isLeft = true;
    const left = this.#open.get(this.address)! - 1;
    if (left > 0) this.#open.set(this.address, left);
    else this.#open.delete(this.address);
  }
}

/** Counts the open connections of each address. */
export class Addresses {
  readonly #open = new Map<string, number>(); // by addressKey
  readonly #most: number;
  readonly #uncounted: readonly Networks[];

  /** At most `most` connections from each; from those in `uncounted` any number. */
  constructor(most: number, uncounted: readonly Networks[]) {
    this.#most = most;
    this.#uncounted = uncounted;
  }

  /** From how many addresses connections are counted now. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * One more connection from this address, which counts in any case if `always`. Throws a {@link TooMany}
   * when there are as many as there may be.
   */
  enter(host: string, always = false): Place {
    const isUncounted = !always && this.#uncounted.some((networks) => networks.contains(host));
    const address = isUncounted ? undefined : addressKey(host);
    if (address !== undefined && (this.#open.get(address) ?? 0) >= this.#most) throw new TooMany(address);
    return new Place(address, this.#open);
  }
}

/** An address has all the connections that it may have. */
export class TooMany extends Error {
  override readonly name = "TooMany";

  constructor(readonly address: string) {
    super(`too many connections from ${address}`);
  }
}
