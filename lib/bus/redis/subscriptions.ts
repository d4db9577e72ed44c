/** Keeps what the servers know of a node's subscriptions in line with what the node wants. */
import { keySlot } from "./key_slot.ts";
import type { Link } from "./redis_connection.ts";
import type { Servers } from "./redis_connections.ts";

/** Channels per command: Redis does nothing else while it works on one, so that it must not take long. */
const CHUNK = 1_000;

/** What should be subscribed. */
export interface Wanted {
  has(channel: string): boolean;
  keys(): Iterable<string>;
}

/** The subscriptions on all connections; new ones for new connections. */
export class Subscriptions {
  readonly #servers: Servers;
  readonly #wanted: Wanted;
  readonly #byLink: ReadonlyMap<Link, LinkSubscriptions>;

  constructor(servers: Servers, wanted: Wanted) {
    this.#servers = servers;
    this.#wanted = wanted;
    this.#byLink = new Map(
      servers.links.map((link) => [link, new LinkSubscriptions(link, wanted, servers.sharded)]),
    );
  }

  /**
   * Subscribes all that is wanted; resolves when it is confirmed. As what follows, it rejects with
   * BusUnavailable.
   */
  async changeAll(): Promise<void> {
    await Promise.all([...this.#wanted.keys()].map((channel) => this.change(channel)));
  }

  /**
   * Takes notice that a channel may be wanted now and wasn't before, or the other way round. Resolves when
   * the server has confirmed it. Changes of one turn go together.
   */
  change(channel: string): Promise<void> {
    return this.#byLink.get(this.#servers.of(channel))!.change(channel);
  }

  /** How many subscribers each of these channels has, this node's among them: by all changes so far. */
  async count(channels: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    const groups = Map.groupBy(channels, (channel) => this.#servers.of(channel));
    await Promise.all([...groups].flatMap(([link, group]) => {
      // Ahead of the question, on the same connection.
      this.#byLink.get(link)!.flush().catch(() => {});
      return chunks(group).map(async (chunk) => {
        const counted = await link.subscribers(chunk);
        chunk.forEach((channel, i) => counts.set(channel, counted[i]!));
      });
    }));
    return counts;
  }
}

class LinkSubscriptions {
  readonly #link: Link;
  readonly #wanted: Wanted;
  readonly #bySlot: boolean;
  readonly #told = new Set<string>(); // subscribed by what was sent so far
  #changed = new Set<string>();
  #soon: Promise<void> | undefined;
  #confirmed: Promise<unknown> = Promise.resolve();

  /** `bySlot`: a command may only name channels of one slot of a cluster. */
  constructor(link: Link, wanted: Wanted, bySlot: boolean) {
    this.#link = link;
    this.#wanted = wanted;
    this.#bySlot = bySlot;
  }

  change(channel: string): Promise<void> {
    this.#changed.add(channel);
    return this.#soon ??= Promise.resolve().then(() => this.flush());
  }

  /** Sends the changes now; resolves when the server has confirmed all there ever were. */
  async flush(): Promise<void> {
    const [subscribe, unsubscribe]: [string[], string[]] = [[], []];
    for (const channel of this.#changed) {
      const wanted = this.#wanted.has(channel);
      if (wanted === this.#told.has(channel)) continue;
      if (wanted) {
        this.#told.add(channel);
        subscribe.push(channel);
      } else {
        this.#told.delete(channel);
        unsubscribe.push(channel);
      }
    }
    this.#changed = new Set();
    this.#soon = undefined;
    // The server answers in order, but each answer may be waited for by another caller.
    this.#confirmed = Promise.all([
      this.#confirmed,
      ...this.#commands(subscribe).map((some) => this.#link.subscribe(some)),
      ...this.#commands(unsubscribe).map((some) => this.#link.unsubscribe(some)),
    ]);
    await this.#confirmed;
  }

  #commands(channels: readonly string[]): string[][] {
    return this.#bySlot ? [...Map.groupBy(channels, keySlot).values()].flatMap(chunks) : chunks(channels);
  }
}

function chunks(channels: readonly string[]): string[][] {
  const count = Math.ceil(channels.length / CHUNK);
  return Array.from({ length: count }, (_, i) => channels.slice(i * CHUNK, (i + 1) * CHUNK));
}
