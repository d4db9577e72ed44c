/** The bus for nodes in one process: with one node, which is the default, there is no other to tell. */
import { type Bus, BusUnavailable, type Channel, type Hint, type Listener, type Quota } from "./bus.ts";
import { NamedBuckets } from "./gcra.ts";
import { KeyedLock } from "./keyed_mutex.ts";

/** What the nodes of one process are connected by. */
export class LocalHub {
  readonly #shared: Shared = {
    open: new Map(),
    subscribers: new Map(),
    locks: new KeyedLock(),
    buckets: new NamedBuckets(),
  };

  /** A new node's connection. */
  attach(): Bus {
    return new LocalBus(this.#shared);
  }
}

/** What the connections to one hub have in common. */
interface Shared {
  readonly open: Map<LocalBus, Listener>;
  readonly subscribers: Map<Channel, Set<LocalBus>>;
  readonly locks: KeyedLock;
  readonly buckets: NamedBuckets;
}

/** Never down: what connects the nodes is the process that they are in. */
class LocalBus implements Bus {
  readonly #shared: Shared;
  readonly #channels = new Set<Channel>();
  #closed = false;

  constructor(shared: Shared) {
    this.#shared = shared;
  }

  /** Hints are received in the same moment. */
  adopt(): void {}

  open(listener: Listener): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    const { open } = this.#shared;
    this.#tell([...open.values()], (other) => other.came());
    open.set(this, listener);
    return Promise.resolve();
  }

  subscribe(channel: Channel): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    this.#channels.add(channel);
    const subscribers = this.#shared.subscribers.get(channel);
    if (subscribers) subscribers.add(this);
    else this.#shared.subscribers.set(channel, new Set([this]));
    return Promise.resolve();
  }

  unsubscribe(channel: Channel): Promise<void> {
    this.#channels.delete(channel);
    const subscribers = this.#shared.subscribers.get(channel);
    if (subscribers?.delete(this) && subscribers.size === 0) this.#shared.subscribers.delete(channel);
    return Promise.resolve();
  }

  publish(channel: Channel, hint: Hint): void {
    const { open, subscribers } = this.#shared;
    if (this.#closed || !subscribers.has(channel)) return;
    // Later, as over a network: no caller is called back while it is calling.
    queueMicrotask(() => {
      for (const node of [...subscribers.get(channel) ?? []]) {
        if (node !== this) open.get(node)?.receive(channel, hint);
      }
    });
  }

  online(users: readonly number[]): Promise<ReadonlySet<number>> {
    if (this.#closed) return Promise.reject(closed());
    return Promise.resolve(new Set(users.filter((user) => this.#shared.subscribers.has(user))));
  }

  async lock(user: number): Promise<() => Promise<void>> {
    if (this.#closed) throw closed();
    const release = await this.#shared.locks.take(user, this);
    return () => Promise.resolve(release());
  }

  spend(bucket: string, quota: Quota, count: number): Promise<number> {
    if (this.#closed) return Promise.reject(closed());
    return Promise.resolve(this.#shared.buckets.spend(bucket, quota, count));
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const channel of this.#channels) this.unsubscribe(channel);
    const { open, locks } = this.#shared;
    locks.releaseAll(this, closed());
    if (open.delete(this)) this.#tell([...open.values()], (other) => other.gone());
    return Promise.resolve();
  }

  /** Later, as over a network. */
  #tell(listeners: readonly Listener[], what: (listener: Listener) => void): void {
    queueMicrotask(() => listeners.forEach(what));
  }
}

function closed(): BusUnavailable {
  return new BusUnavailable("the bus is closed");
}
