/** The bus for nodes in one process: with one node, which is the default, there is nobody to tell anything. */
import type { Bus, Channel, Hint } from "./bus.ts";

/** What the nodes of one process are connected by. */
export class LocalHub {
  readonly #subscribers = new Map<Channel, Set<LocalBus>>();
  readonly #locks = new KeyedLock();

  /** A new node's connection. */
  attach(): Bus {
    return new LocalBus(this.#subscribers, this.#locks);
  }
}

class LocalBus implements Bus {
  readonly #subscribers: Map<Channel, Set<LocalBus>>;
  readonly #locks: KeyedLock;
  readonly #channels = new Set<Channel>();
  #receive: (channel: Channel, hint: Hint) => void = () => {};
  #closed = false;

  constructor(subscribers: Map<Channel, Set<LocalBus>>, locks: KeyedLock) {
    this.#subscribers = subscribers;
    this.#locks = locks;
  }

  open(receive: (channel: Channel, hint: Hint) => void): Promise<void> {
    this.#receive = receive;
    return Promise.resolve();
  }

  subscribe(channel: Channel): Promise<void> {
    if (this.#closed) return Promise.reject(closed());
    this.#channels.add(channel);
    const subscribers = this.#subscribers.get(channel);
    if (subscribers) subscribers.add(this);
    else this.#subscribers.set(channel, new Set([this]));
    return Promise.resolve();
  }

  unsubscribe(channel: Channel): Promise<void> {
    this.#channels.delete(channel);
    const subscribers = this.#subscribers.get(channel);
    if (subscribers?.delete(this) && subscribers.size === 0) this.#subscribers.delete(channel);
    return Promise.resolve();
  }

  publish(channel: Channel, hint: Hint): void {
    if (this.#closed || !this.#subscribers.has(channel)) return;
    // Later, as over a network: nobody is called back while still calling.
    queueMicrotask(() => {
      for (const node of [...this.#subscribers.get(channel) ?? []]) {
        if (node !== this) node.#receive(channel, hint);
      }
    });
  }

  online(users: readonly number[]): Promise<ReadonlySet<number>> {
    if (this.#closed) return Promise.reject(closed());
    return Promise.resolve(new Set(users.filter((user) => this.#subscribers.has(user))));
  }

  lock(user: number): Promise<() => Promise<void>> {
    return this.#closed ? Promise.reject(closed()) : this.#locks.take(user, this);
  }

  close(): Promise<void> {
    this.#closed = true;
    for (const channel of this.#channels) this.unsubscribe(channel);
    this.#locks.releaseAll(this);
    return Promise.resolve();
  }
}

/** A holder of a lock, or one who waits for it. */
interface Turn {
  readonly user: number;
  readonly owner: LocalBus;
  readonly begin: () => void;
  readonly giveUp: (error: Error) => void;
}

/** One lock per user; who asked first has it first. */
class KeyedLock {
  readonly #turns = new Map<number, Turn[]>(); // the first of each is the holder

  take(user: number, owner: LocalBus): Promise<() => Promise<void>> {
    return new Promise((resolve, reject) => {
      const release = () => {
        this.#leave(turn);
        return Promise.resolve();
      };
      const turn: Turn = { user, owner, begin: () => resolve(release), giveUp: reject };
      const turns = this.#turns.get(user);
      if (turns) turns.push(turn);
      else this.#turns.set(user, [turn]);
      if (!turns) turn.begin();
    });
  }

  releaseAll(owner: LocalBus): void {
    const own = [...this.#turns.values()].flat().filter((turn) => turn.owner === owner);
    // From the last to the first, so that none of them gets its turn only to lose it.
    for (const turn of own.reverse()) {
      turn.giveUp(closed()); // no effect on one that has begun
      this.#leave(turn);
    }
  }

  /** Does nothing the second time. */
  #leave(turn: Turn): void {
    const turns = this.#turns.get(turn.user);
    const place = turns?.indexOf(turn) ?? -1;
    if (!turns || place < 0) return;
    turns.splice(place, 1);
    if (turns.length === 0) this.#turns.delete(turn.user);
    else if (place === 0) turns[0]!.begin();
  }
}

function closed(): Error {
  return new Error("the bus is closed");
}
