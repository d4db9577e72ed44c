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
export interface Queued {
  readonly requester: Requester;
}

/**
 * While others wait as well, each so many-th hash is not a known user's: a flood by accounts of an attacker's
 * own keeps no new user out for good.
 */
const NEW_EVERY = 4;

/** A queue of at most `max` items. */
export class FairQueue<T extends Queued> {
  readonly #known: FairLane<T>;
  readonly #others: FairLane<T>;
  readonly #max: number;
  readonly #networks: Shares;
  readonly #addresses: Shares;
  #turn = 0;

  /** `clock`: milliseconds that never go back. */
  constructor(max: number, clock: () => number = () => performance.now()) {
    this.#max = max;
    this.#networks = new Shares(clock);
    this.#addresses = new Shares(clock);
    this.#known = new FairLane(this.#networks, this.#addresses);
    this.#others = new FairLane(this.#networks, this.#addresses);
  }

  get size(): number {
    return this.#known.size + this.#others.size;
  }

  /**
   * Adds an item. If that is one too many, returns the item that has no place any more: the newest of the
   * address that has the most waiting, in the network that has. It may be the one that was added.
   */
  push(item: T): T | undefined {
    this.#laneOf(item).push(item);
    if (this.size <= this.#max) return undefined;
    return (this.#others.size > 0 ? this.#others : this.#known).dropNewest();
  }

  /** Takes an item out before its turn; false if it isn't there. */
  delete(item: T): boolean {
    return this.#laneOf(item).delete(item);
  }

  /** Takes the next item out. */
  next(): T | undefined {
    this.#turn++;
    const isForOthers = this.#others.size > 0 && (this.#known.size === 0 || this.#turn % NEW_EVERY === 0);
    return (isForOthers ? this.#others : this.#known).next();
  }

  /** A hash begins on behalf of this requester. */
  charge({ network, address }: Requester): void {
    this.#networks.charge(network, 1);
    this.#addresses.charge(address, 1);
  }

  /** The password was right: pays that hash back and one before it, a typing error. */
  payBack({ network, address, standing }: Requester): void {
    if (standing === "frequent") return;
    this.#networks.charge(network, -2);
    this.#addresses.charge(address, -2);
  }

  #laneOf({ requester: { standing } }: T): FairLane<T> {
    return standing === "known" ? this.#known : this.#others;
  }
}

/** A network's items, by address. */
interface Network<T> {
  readonly addresses: Map<string, Set<T>>;
  size: number;
}

/** Items of equal standing. */
class FairLane<T extends Queued> {
  readonly #waiting = new Map<string, Network<T>>();
  readonly #networks: Shares;
  readonly #addresses: Shares;
  size = 0;

  constructor(networks: Shares, addresses: Shares) {
    this.#networks = networks;
    this.#addresses = addresses;
  }

  push(item: T): void {
    const { network, address } = item.requester;
    let group = this.#waiting.get(network);
    if (!group) this.#waiting.set(network, group = { addresses: new Map(), size: 0 });
    let items = group.addresses.get(address);
    if (!items) group.addresses.set(address, items = new Set());
    items.add(item);
    group.size++;
    this.size++;
  }

  delete(item: T): boolean {
    const { network, address } = item.requester;
    const group = this.#waiting.get(network);
    const items = group?.addresses.get(address);
    if (!group || !items?.delete(item)) return false;
    if (items.size === 0) group.addresses.delete(address);
    if (--group.size === 0) this.#waiting.delete(network);
    this.size--;
    return true;
  }

  /** The oldest of the address, in the network, that has had the least lately. */
  next(): T | undefined {
    if (this.size === 0) return undefined;
    const network = this.#waiting.get(this.#networks.least(this.#waiting.keys()))!;
    const [item] = network.addresses.get(this.#addresses.least(network.addresses.keys()))!;
    this.delete(item!);
    return item;
  }

  dropNewest(): T {
    const network = largest(this.#waiting.values());
    const item = [...largest(network.addresses.values())].at(-1)!;
    this.delete(item);
    return item;
  }
}

/** The first of the largest; there must be one. */
function largest<T extends { readonly size: number }>(groups: Iterable<T>): T {
  let found: T | undefined;
  for (const group of groups) if (!found || group.size > found.size) found = group;
  return found!;
}
