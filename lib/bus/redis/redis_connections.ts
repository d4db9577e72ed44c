/**
 * The connections to one Redis server, or to every master of a cluster. They begin and end together: when one
 * is lost or the cluster changes, all are replaced. That costs a short outage, and avoids tracking of partial
 * states.
 */
import type { Redis } from "ioredis";
import { BusUnavailableError } from "../bus.ts";
import { keySlot, SLOT_COUNT } from "./key_slot.ts";
import { RedisConnection, type RedisConnectionOptions, RedisRefusedError } from "./redis_connection.ts";
import { findShards } from "./shards.ts";

/** The options of the connections. */
export interface RedisConnectionsOptions
  extends Pick<RedisConnectionOptions, "onMessage" | "onCommandError" | "signal"> {
  /**
   * The address of one server, or of some servers of a cluster. The first server that replies names the
   * others.
   */
  readonly urls: readonly URL[];
}

/** Sends a command to the server that owns a key. */
export type SendCommand = <T>(key: string, send: (redis: Redis) => Promise<T>) => Promise<T>;

/** The connections to all servers. */
export class RedisConnections {
  /** One for a single server, and one per master for a cluster. */
  readonly connections: readonly RedisConnection[];
  /** Whether the servers are a cluster. */
  readonly sharded: boolean;
  readonly #bySlot: readonly RedisConnection[];

  private constructor(connections: readonly RedisConnection[], bySlot: readonly RedisConnection[]) {
    this.connections = connections;
    this.sharded = bySlot.length > 0;
    this.#bySlot = bySlot;
  }

  /**
   * Connects to all servers. Rejects with {@link BusUnavailableError}, after closing all connections that
   * were opened.
   */
  static async connect(options: RedisConnectionsOptions): Promise<RedisConnections> {
    const [first, ...others] = options.urls;
    if (first && others.length === 0) {
      const connection = await RedisConnection.open(first, { ...options, sharded: false });
      if (!connection.inCluster && connection.isMaster) return new RedisConnections([connection], []);
      await connection.close();
      // A replica rejects the writes of locks, and passes payloads on to its own subscribers only.
      if (!connection.inCluster) {
        throw new RedisRefusedError(`Redis at ${first.host} is a replica: give the address of its master`);
      }
    }
    const shards = await findShards(options);
    const urls = [...new Set(shards.map(({ url }) => url.href))];
    const opening = await Promise.allSettled(urls.map((url) => openMaster(new URL(url), options)));
    const connections = opening.filter((result) => result.status === "fulfilled").map(({ value }) => value);
    const failure = opening.find((result) => result.status === "rejected");
    if (failure) {
      await Promise.all(connections.map((connection) => connection.close()));
      throw failure.reason;
    }
    const bySlot = new Array<RedisConnection>(SLOT_COUNT);
    for (const { from, to, url } of shards) bySlot.fill(connections[urls.indexOf(url.href)]!, from, to + 1);
    return new RedisConnections(connections, bySlot);
  }

  /** Returns the connection that owns a channel or key. */
  get(name: string): RedisConnection {
    return this.sharded ? this.#bySlot[keySlot(name)]! : this.connections[0]!;
  }

  /** Resolves to the error of the first connection that is lost. */
  closed(): Promise<BusUnavailableError> {
    return Promise.race(this.connections.map((connection) => connection.closed));
  }

  /** Ends all connections as a failure does. Resolves when every pending call has been rejected. */
  async destroy(error: Error): Promise<void> {
    await Promise.all(this.connections.map((connection) => connection.destroy(error)));
  }

  /** Closes all connections, each after the bytes of earlier calls were sent. */
  async close(): Promise<void> {
    await Promise.all(this.connections.map((connection) => connection.close()));
  }
}

/**
 * Connects to a master that knows the whole cluster. A master that has just restarted accepts subscriptions
 * and locks before it knows the other masters.
 */
async function openMaster(url: URL, options: RedisConnectionsOptions): Promise<RedisConnection> {
  const connection = await RedisConnection.open(url, { ...options, sharded: true });
  try {
    if (!connection.isMaster) throw new BusUnavailableError(`Redis at ${url.host} is no longer a master`);
    const info = await connection.call((redis) => redis.cluster("INFO"));
    if (!info.includes("cluster_state:ok")) {
      throw new BusUnavailableError(
        `Redis at ${url.host}: the cluster is not complete (cluster_state is not ok)`,
      );
    }
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}
