/** Keeps what the servers know of a node's subscriptions in line with what the node wants. */
import { keySlot } from "./key_slot.ts";
import type { RedisConnection } from "./redis_connection.ts";
import type { RedisConnections } from "./redis_connections.ts";

/** Channels per command: Redis does nothing else while it works on one, so that it must not take long. */
const CHUNK_SIZE = 1_000;

/** What should be subscribed. */
export interface DesiredSubscriptions {
  has(channel: string): boolean;
  keys(): Iterable<string>;
}

/** The subscriptions on all connections; new ones for new connections. */
export class Subscriptions {
  readonly #connections: RedisConnections;
  readonly #desired: DesiredSubscriptions;
  readonly #byConnection: ReadonlyMap<RedisConnection, ConnectionSubscriptions>;

  constructor(connections: RedisConnections, desired: DesiredSubscriptions) {
    this.#connections = connections;
    this.#desired = desired;
    this.#byConnection = new Map(
      connections.connections.map((
        connection,
      ) => [connection, new ConnectionSubscriptions(connection, desired, connections.sharded)]),
    );
  }

  /**
   * Subscribes all that is wanted; resolves when it is confirmed. As what follows, it rejects with
   * BusUnavailable.
   */
  async subscribeAll(): Promise<void> {
    await Promise.all([...this.#desired.keys()].map((channel) => this.update(channel)));
  }

  /**
   * Takes notice that a channel may be wanted now and wasn't before, or the other way round. Resolves when
   * the server has confirmed it. Changes of one turn go together.
   */
  update(channel: string): Promise<void> {
    return this.#byConnection.get(this.#connections.get(channel))!.update(channel);
  }

  /** How many subscribers each of these channels has, this node's among them: by all changes so far. */
  async countSubscribers(channels: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    const groups = Map.groupBy(channels, (channel) => this.#connections.get(channel));
    await Promise.all([...groups].flatMap(([connection, group]) => {
      // Ahead of the question, on the same connection.
      this.#byConnection.get(connection)!.flush().catch(() => {});
      return chunks(group).map(async (chunk) => {
        const chunkCounts = await connection.subscribers(chunk);
        chunk.forEach((channel, i) => counts.set(channel, chunkCounts[i]!));
      });
    }));
    return counts;
  }
}

class ConnectionSubscriptions {
  readonly #connection: RedisConnection;
  readonly #desired: DesiredSubscriptions;
  readonly #bySlot: boolean;
  readonly #requested = new Set<string>(); // subscribed by what was sent so far
  #changed = new Set<string>();
  #scheduledFlush: Promise<void> | undefined;
  #confirmed: Promise<unknown> = Promise.resolve();

  /** `bySlot`: a command may only name channels of one slot of a cluster. */
  constructor(connection: RedisConnection, desired: DesiredSubscriptions, bySlot: boolean) {
    this.#connection = connection;
    this.#desired = desired;
    this.#bySlot = bySlot;
  }

  update(channel: string): Promise<void> {
    this.#changed.add(channel);
    return this.#scheduledFlush ??= Promise.resolve().then(() => this.flush());
  }

  /** Sends the changes now; resolves when the server has confirmed all there ever were. */
  async flush(): Promise<void> {
    const [subscribe, unsubscribe]: [string[], string[]] = [[], []];
    for (const channel of this.#changed) {
      const isDesired = this.#desired.has(channel);
      if (isDesired === this.#requested.has(channel)) continue;
      if (isDesired) {
        this.#requested.add(channel);
        subscribe.push(channel);
      } else {
        this.#requested.delete(channel);
        unsubscribe.push(channel);
      }
    }
    this.#changed = new Set();
    this.#scheduledFlush = undefined;
    // The server answers in order, but each answer may be waited for by another caller.
    this.#confirmed = Promise.all([
      this.#confirmed,
      ...this.#commands(subscribe).map((chunk) => this.#connection.subscribe(chunk)),
      ...this.#commands(unsubscribe).map((chunk) => this.#connection.unsubscribe(chunk)),
    ]);
    await this.#confirmed;
  }

  #commands(channels: readonly string[]): string[][] {
    return this.#bySlot ? [...Map.groupBy(channels, keySlot).values()].flatMap(chunks) : chunks(channels);
  }
}

function chunks(channels: readonly string[]): string[][] {
  const count = Math.ceil(channels.length / CHUNK_SIZE);
  return Array.from({ length: count }, (_, i) => channels.slice(i * CHUNK_SIZE, (i + 1) * CHUNK_SIZE));
}
