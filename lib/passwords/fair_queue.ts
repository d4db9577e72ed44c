/**
 * The queue of passwords to hash. Known users go first. The others share the hasher fairly by network, and
 * within a network by address. So a client that fills the queue delays only itself.
 */
import { Shares } from "./shares.ts";

/**
 * The standing of a requester. `known`: the user has logged in from this address, or with this device,
 * before. `frequent`: the same, but with more logins by password than a person needs. `new`: all others.
 */
export type Standing = "known" | "new" | "frequent";

/** The client for which a password is hashed. */
export interface Requester {
  /** The network of the address. Networks share the hasher equally, however many addresses they have. */
  readonly network: string;
  /** The address. The addresses of a network share its part equally. */
  readonly address: string;
  readonly standing: Standing;
  /** Aborted when the client has disconnected: the password is then not hashed. */
  readonly signal?: AbortSignal;
}

/** An item of the queue. */
export interface QueueItem {
  readonly requester: Requester;
}

/**
 * While clients that are not known wait, each fourth hash is theirs. So an attacker with many accounts cannot
 * keep new users out.
 */
const NEW_EVERY = 4;

/** A queue of bounded length. */
export class FairQueue<T extends QueueItem> {
  readonly #known: FairSubqueue<T>;
  readonly #others: FairSubqueue<T>;
  readonly #max: number;
  readonly #networks: Shares;
  readonly #addresses: Shares;
  #dequeueCount = 0;

  /** `max` is the most items. `clock` returns milliseconds that never go back. */
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
   * Adds an item. If the queue is full, removes and returns the newest item of the address with the most
   * items, in the network with the most items. That may be the item that was added.
   */
  push(item: T): T | undefined {
    this.#subqueueOf(item).push(item);
    if (this.size <= this.#max) return undefined;
    return (this.#others.size > 0 ? this.#others : this.#known).dropNewest();
  }

  /** Removes an item. Returns false if it is not in the queue. */
  delete(item: T): boolean {
    return this.#subqueueOf(item).delete(item);
  }

  /** Removes and returns the next item. */
  next(): T | undefined {
    this.#dequeueCount++;
    const isForOthers = this.#others.size > 0 &&
      (this.#known.size === 0 || this.#dequeueCount % NEW_EVERY === 0);
    return (isForOthers ? this.#others : this.#known).next();
  }

  /** Charges a requester for a hash that begins. */
  charge({ network, address }: Requester): void {
    this.#networks.charge(network, 1);
    this.#addresses.charge(address, 1);
  }

  /** Refunds a requester with the right password that hash and one more, for a typing error before. */
  refund({ network, address, standing }: Requester): void {
    if (standing === "frequent") return;
    this.#networks.charge(network, -2);
    this.#addresses.charge(address, -2);
  }

  #subqueueOf({ requester: { standing } }: T): FairSubqueue<T> {
    return standing === "known" ? this.#known : this.#others;
  }
}

/** The items of a network, by address. */
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

  /** Removes and returns the oldest item of the least charged address in the least charged network. */
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

/** Returns the largest candidate, the first of equal ones. There must be at least one. */
function largest<T extends { readonly size: number }>(candidates: Iterable<T>): T {
  let found: T | undefined;
  for (const candidate of candidates) if (!found || candidate.size > found.size) found = candidate;
  return found!;
}
