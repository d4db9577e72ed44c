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
    nodes: new Set(),
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
  /** The connections that are not closed. They are few: each is asked for its channels. */
  readonly nodes: Set<LocalBus>;
  readonly mutex: KeyedMutex<number>;
  readonly rateLimiter: KeyedRateLimiter;
}

/** A connection within a process. It never fails: the process itself connects the nodes. */
class LocalBus implements Bus {
  readonly #hub: HubState;
  readonly #channels = new Set<Channel>();
  #listener: BusListener | undefined; // since open
  #isClosed = false;

  constructor(hub: HubState) {
    this.#hub = hub;
    hub.nodes.add(this);
  }

  /** Does nothing: hints arrive without delay, and so within one epoch. */
  adopt(): void {}

  open(listener: BusListener): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#notifyOthers((other) => other.onNodeJoined());
    this.#listener = listener;
    return Promise.resolve();
  }

  subscribe(channel: Channel): Promise<void> {
    if (this.#isClosed) return Promise.reject(closedError());
    this.#channels.add(channel);
    return Promise.resolve();
  }

  unsubscribe(channel: Channel): Promise<void> {
    this.#channels.delete(channel);
    return Promise.resolve();
  }

  publish(channel: Channel, hint: Hint): void {
    if (this.#isClosed) return;
    for (const node of this.#hub.nodes) {
      if (node === this || !node.#channels.has(channel)) continue;
      // Asynchronous, as over a network: a caller of publish is not called back during the call.
      queueMicrotask(() => {
        if (node.#channels.has(channel)) node.#listener?.onHint(channel, hint);
      });
    }
  }

  online(users: readonly number[]): Promise<ReadonlySet<number>> {
    if (this.#isClosed) return Promise.reject(closedError());
    const nodes = [...this.#hub.nodes];
    return Promise.resolve(new Set(users.filter((user) => nodes.some((node) => node.#channels.has(user)))));
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
    this.#channels.clear();
    const { nodes, mutex } = this.#hub;
    mutex.releaseAll(this, closedError());
    nodes.delete(this);
    if (this.#listener) this.#notifyOthers((other) => other.onNodeLeft());
    this.#listener = undefined;
    return Promise.resolve();
  }

  /** Calls the listeners of the other nodes asynchronously, as over a network. */
  #notifyOthers(call: (listener: BusListener) => void): void {
    for (const node of this.#hub.nodes) {
      const listener = node.#listener;
      if (node !== this && listener) queueMicrotask(() => call(listener));
    }
  }
}
