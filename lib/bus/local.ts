/** The bus for nodes in one process: with one node, which is the default, there is no other to tell. */
import { KeyedMutex } from "../keyed_mutex.ts";
import {
  type Bus,
  type BusListener,
  BusUnavailableError,
  type Channel,
  type Hint,
  lockOverloadError,
  type RateLimit,
} from "./bus.ts";
import { KeyedRateLimiter } from "./gcra.ts";

/** What the nodes of one process are connected by. */
export class LocalHub {
  readonly #state: HubState = {
    listeners: new Map(),
    subscribers: new Map(),
    mutex: new KeyedMutex(lockOverloadError),
    rateLimiter: new KeyedRateLimiter(),
  };

  /** A new node's connection. */
  attach(): Bus {
    return new LocalBus(this.#state);
  }
}

/** What the connections to one hub have in common. */
interface HubState {
  readonly listeners: Map<LocalBus, BusListener>;
  readonly subscribers: Map<Channel, Set<LocalBus>>;
  readonly mutex: KeyedMutex<number>;
  readonly rateLimiter: KeyedRateLimiter;
}

/** Never down: what connects the nodes is the process that they are in. */
class LocalBus implements Bus {
  readonly #hub: HubState;
  readonly #channels = new Set<Channel>();
  #isClosed = false;

  constructor(hub: HubState) {
    this.#hub = hub;
  }

  /** Hints are received in the same moment. */
  adopt(): void {}

  open(listener: BusListener): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    const { listeners } = this.#hub;
    this.#notify([...listeners.values()], (other) => other.onNodeJoined());
    listeners.set(this, listener);
    return Promise.resolve();
  }

  subscribe(channel: Channel): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#channels.add(channel);
    const subscribers = this.#hub.subscribers.get(channel);
    if (subscribers) subscribers.add(this);
    else this.#hub.subscribers.set(channel, new Set([this]));
    return Promise.resolve();
  }

  unsubscribe(channel: Channel): Promise<void> {
    this.#channels.delete(channel);
    const subscribers = this.#hub.subscribers.get(channel);
    if (subscribers?.delete(this) && subscribers.size === 0) this.#hub.subscribers.delete(channel);
    return Promise.resolve();
  }

  publish(channel: Channel, hint: Hint): void {
    const { listeners, subscribers } = this.#hub;
    if (this.#isClosed || !subscribers.has(channel)) return;
    // Later, as over a network: no caller is called back while it is calling.
    queueMicrotask(() => {
      for (const node of [...subscribers.get(channel) ?? []]) {
        if (node !== this) listeners.get(node)?.onHint(channel, hint);
      }
    });
  }

  online(users: readonly number[]): Promise<ReadonlySet<number>> {
    if (this.#isClosed) return Promise.reject(closedError());
    return Promise.resolve(new Set(users.filter((user) => this.#hub.subscribers.has(user))));
  }

  async lock(user: number): Promise<() => Promise<void>> {
    if (this.#isClosed) throw closedError();
    const release = await this.#hub.mutex.acquire(user, this);
    return () => Promise.resolve(release());
  }

  tryConsume(bucket: string, limit: RateLimit, count: number): Promise<number> {
    if (this.#isClosed) return Promise.reject(closedError());
    return Promise.resolve(this.#hub.rateLimiter.tryConsume(bucket, limit, count));
  }

  close(): Promise<void> {
    this.#isClosed = true;
    for (const channel of this.#channels) this.unsubscribe(channel);
    const { listeners, mutex } = this.#hub;
    mutex.releaseAll(this, closedError());
    if (listeners.delete(this)) this.#notify([...listeners.values()], (other) => other.onNodeLeft());
    return Promise.resolve();
  }

  /** Later, as over a network. */
  #notify(listeners: readonly BusListener[], call: (listener: BusListener) => void): void {
    queueMicrotask(() => listeners.forEach(call));
  }
}

function closedError(): BusUnavailableError {
  return new BusUnavailableError("the bus is closed");
}
