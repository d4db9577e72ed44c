/** Keeps the subscriptions on the servers equal to the subscriptions that the node desires. */
import { keySlot } from "./key_slot.ts";
import type { RedisConnection } from "./redis_connection.ts";
import type { RedisConnections } from "./redis_connections.ts";

/** Channels per command: Redis runs one command at a time, so a command must be short. */
const CHUNK_SIZE = 1_000;

/** The channels to be subscribed. */
export interface DesiredSubscriptions {
  has(channel: string): boolean;
  keys(): Iterable<string>;
}

/** The subscriptions on all connections. New connections need a new object. */
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
   * Subscribes all desired channels. Resolves when the servers have confirmed. This and all later methods
   * reject with BusUnavailableError.
   */
  async subscribeAll(): Promise<void> {
    await Promise.all([...this.#desired.keys()].map((channel) => this.update(channel)));
  }

  /**
   * Subscribes or unsubscribes a channel, by whether it is desired now. Resolves when the server has
   * confirmed. The changes of one microtask run leave together.
   */
  update(channel: string): Promise<void> {
    return this.#byConnection.get(this.#connections.get(channel))!.update(channel);
  }

  /**
   * Returns the number of subscribers of each channel, after all changes so far. This node is one of them.
   */
  async countSubscribers(channels: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    const groups = Map.groupBy(channels, (channel) => this.#connections.get(channel));
    await Promise.all([...groups].flatMap(([connection, group]) => {
      // The changes precede the query on the same connection.
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
  readonly #requested = new Set<string>(); // by the commands sent so far
  #changed = new Set<string>();
  #scheduledFlush: Promise<void> | undefined;
  #confirmed: Promise<unknown> = Promise.resolve();

  /** `bySlot`: all channels of a command must be in one slot of a cluster. */
  constructor(connection: RedisConnection, desired: DesiredSubscriptions, bySlot: boolean) {
    this.#connection = connection;
    this.#desired = desired;
    this.#bySlot = bySlot;
  }

  update(channel: string): Promise<void> {
    this.#changed.add(channel);
    return this.#scheduledFlush ??= Promise.resolve().then(() => this.flush());
  }

  /** Sends the changes now. Resolves when the server has confirmed these and all earlier changes. */
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
    // The server replies in order, but each reply may have another caller that waits for it.
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
