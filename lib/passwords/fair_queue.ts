/**
 * The order in which passwords are hashed: known users first, then fair over networks, and within a network
 * over its addresses. A client that fills the queue waits behind itself.
 */
import { Shares } from "./shares.ts";

/**
 * How a requester stands: `known` has logged in to that account from there, or by that device, before;
 * `frequent` is known too, but logs in by password more often than people do; every other one is `new`.
 */
export type Standing = "known" | "new" | "frequent";

/** On whose behalf a password is hashed. */
export interface Requester {
  /** The networks share the threads equally, whatever number of addresses each has. */
  readonly network: string;
  /** The addresses of a network share equally what it gets. */
  readonly address: string;
  readonly standing: Standing;
  /** Aborted when the client has gone: the work is not begun then. */
  readonly signal?: AbortSignal;
}

/** What waits in the queue. */
export interface QueueItem {
  readonly requester: Requester;
}

/**
 * While others wait as well, each so many-th hash is not a known user's: a flood by accounts of an attacker's
 * own keeps no new user out for good.
 */
const NEW_EVERY = 4;

/** A queue of at most `max` items. */
export class FairQueue<T extends QueueItem> {
  readonly #known: FairSubqueue<T>;
  readonly #others: FairSubqueue<T>;
  readonly #max: number;
  readonly #networks: Shares;
  readonly #addresses: Shares;
  #dequeueCount = 0;

  /** `clock`: milliseconds that never go back. */
  constructor(max: number, clock: () => number = () => performance.now()) {
    this.#max = max;
    this.#networks = new Shares(clock);
    this.#addresses = new Shares(clock);
    this.#known = new FairSubqueue(this.#networks, this.#addresses);
    this.#others = new FairSubqueue(this.#networks, this.#addresses);
  }

  get size(): number {
    return this.#known.size + this.#others.size;
  }

  /**
   * Adds an item. If that is one too many, returns the item that has no place any more: the newest of the
   * address that has the most waiting, in the network that has. It may be the one that was added.
   */
  push(item: T): T | undefined {
    this.#subqueueOf(item).push(item);
    if (this.size <= this.#max) return undefined;
    return (this.#others.size > 0 ? this.#others : this.#known).dropNewest();
  }

  /** Takes an item out before its turn; false if it isn't there. */
  delete(item: T): boolean {
    return this.#subqueueOf(item).delete(item);
  }

  /** Takes the next item out. */
  next(): T | undefined {
    this.#dequeueCount++;
    const isForOthers = this.#others.size > 0 &&
      (this.#known.size === 0 || this.#dequeueCount % NEW_EVERY === 0);
    return (isForOthers ? this.#others : this.#known).next();
  }

  /** A hash begins on behalf of this requester. */
  charge({ network, address }: Requester): void {
    this.#networks.charge(network, 1);
    this.#addresses.charge(address, 1);
  }

  /** The password was right: pays that hash back and one before it, a typing error. */
  refund({ network, address, standing }: Requester): void {
    if (standing === "frequent") return;
    this.#networks.charge(network, -2);
    this.#addresses.charge(address, -2);
  }

  #subqueueOf({ requester: { standing } }: T): FairSubqueue<T> {
    return standing === "known" ? this.#known : this.#others;
  }
}

/** A network's items, by address. */
interface Network<T> {
  readonly addresses: Map<string, Set<T>>;
  size: number;
}

/** Items of equal standing. */
class FairSubqueue<T extends QueueItem> {
  readonly #byNetwork = new Map<string, Network<T>>();
  readonly #networks: Shares;
  readonly #addresses: Shares;
  size = 0;

  constructor(networks: Shares, addresses: Shares) {
    this.#networks = networks;
    this.#addresses = addresses;
  }

  push(item: T): void {
    const { network, address } = item.requester;
    let entry = this.#byNetwork.get(network);
    if (!entry) this.#byNetwork.set(network, entry = { addresses: new Map(), size: 0 });
    let items = entry.addresses.get(address);
    if (!items) entry.addresses.set(address, items = new Set());
    items.add(item);
    entry.size++;
    this.size++;
  }

  delete(item: T): boolean {
    const { network, address } = item.requester;
    const entry = this.#byNetwork.get(network);
    const items = entry?.addresses.get(address);
    if (!entry || !items?.delete(item)) return false;
    if (items.size === 0) entry.addresses.delete(address);
    if (--entry.size === 0) this.#byNetwork.delete(network);
    this.size--;
    return true;
  }

  /** The oldest of the address, in the network, that has had the least lately. */
  next(): T | undefined {
    if (this.size === 0) return undefined;
    const network = this.#byNetwork.get(this.#networks.least(this.#byNetwork.keys()))!;
    const [item] = network.addresses.get(this.#addresses.least(network.addresses.keys()))!;
    this.delete(item!);
    return item;
  }

  dropNewest(): T {
    const network = largest(this.#byNetwork.values());
    const item = [...largest(network.addresses.values())].at(-1)!;
    this.delete(item);
    return item;
  }
}

/** The first of the largest; there must be one. */
function largest<T extends { readonly size: number }>(candidates: Iterable<T>): T {
  let found: T | undefined;
  for (const candidate of candidates) if (!found || candidate.size > found.size) found = candidate;
  return found!;
}
