/** The bus of nodes in one process. A single node, which is the default, has no other node to notify. */
import { KeyedMutex } from "../keyed_mutex.ts";
import {
  type Bus,
  type BusListener,
  type Channel,
  closedError,
  type Hint,
  lockOverloadError,
  type RateLimit,
} from "./bus.ts";
import { KeyedRateLimiter } from "./gcra.ts";

/** Connects the nodes of one process. */
export class LocalHub {
  readonly #state: HubState = {
    listeners: new Map(),
    subscribers: new Map(),
    mutex: new KeyedMutex(lockOverloadError),
    rateLimiter: new KeyedRateLimiter(),
  };

  /** Returns the connection of a new node. */
  attach(): Bus {
    return new LocalBus(this.#state);
  }
}

/** The state that the connections of one hub share. */
interface HubState {
  readonly listeners: Map<LocalBus, BusListener>;
  readonly subscribers: Map<Channel, Set<LocalBus>>;
  readonly mutex: KeyedMutex<number>;
  readonly rateLimiter: KeyedRateLimiter;
}

/** A connection within a process. It never fails: the process itself connects the nodes. */
class LocalBus implements Bus {
  readonly #hub: HubState;
  readonly #channels = new Set<Channel>();
  #isClosed = false;

  constructor(hub: HubState) {
    this.#hub = hub;
  }

  /** Does nothing: hints arrive without delay, and so within one epoch. */
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
    // Asynchronous, as over a network: a caller of publish is not called back during the call.
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

  /** Calls the listeners asynchronously, as over a network. */
  #notify(listeners: readonly BusListener[], call: (listener: BusListener) => void): void {
    queueMicrotask(() => listeners.forEach(call));
  }
}
