/**
 * The connections to all of Redis: to one server, or to every master of a cluster. They begin and end
 * together: when one is lost, or the cluster has changed, all are made anew. That costs an outage of moments,
 * which the nodes can live with, and leaves nothing to keep track of.
 */
import { BusUnavailableError } from "../bus.ts";
import { keySlot, SLOT_COUNT } from "./key_slot.ts";
import { RedisConnection, type RedisConnectionOptions, RedisRefusedError } from "./redis_connection.ts";
import { findShards } from "./shards.ts";

/** How to reach them. */
export interface RedisConnectionsOptions
  extends Pick<RedisConnectionOptions, "onMessage" | "onCommandError" | "signal"> {
  /** One server, or any of a cluster's: the others are found through whichever answers first. */
  readonly urls: readonly URL[];
}

/** The connections. */
export class RedisConnections {
  /** One server, or a master each. */
  readonly connections: readonly RedisConnection[];
  /** Whether they are a cluster's. */
  readonly sharded: boolean;
  readonly #bySlot: readonly RedisConnection[];

  private constructor(connections: readonly RedisConnection[], bySlot: readonly RedisConnection[]) {
    this.connections = connections;
    this.sharded = bySlot.length > 0;
    this.#bySlot = bySlot;
  }

  /** Connects to all. Rejects with {@link BusUnavailableError}, having closed what it opened. */
  static async connect(options: RedisConnectionsOptions): Promise<RedisConnections> {
    const [first, ...others] = options.urls;
    if (first && others.length === 0) {
      const connection = await RedisConnection.open(first, { ...options, sharded: false });
      if (!connection.inCluster && connection.isMaster) return new RedisConnections([connection], []);
      await connection.close();
      // It takes no locks, and what is published there only its own subscribers get.
      if (!connection.inCluster) {
        throw new RedisRefusedError(`Redis at ${first.host} is a replica; the address must be its master's`);
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

  /** The one that has the channel or key. */
  get(name: string): RedisConnection {
    return this.sharded ? this.#bySlot[keySlot(name)]! : this.connections[0]!;
  }

  /** Resolves with the reason when one of them is lost. */
  closed(): Promise<BusUnavailableError> {
    return Promise.race(this.connections.map((connection) => connection.closed));
  }

  /** Ends all as if they had failed; resolves when every call has been rejected. */
  async destroy(error: Error): Promise<void> {
    await Promise.all(this.connections.map((connection) => connection.destroy(error)));
  }

  /** Ends all after what was sent has left. */
  async close(): Promise<void> {
    await Promise.all(this.connections.map((connection) => connection.close()));
  }
}

/**
 * One that has just come back takes subscriptions before it knows of the other masters and takes locks, too.
 */
async function openMaster(url: URL, options: RedisConnectionsOptions): Promise<RedisConnection> {
  const connection = await RedisConnection.open(url, { ...options, sharded: true });
  try {
    if (!connection.isMaster) throw new BusUnavailableError(`Redis at ${url.host} is not a master any more`);
    const info = await connection.call((redis) => redis.cluster("INFO"));
    if (!info.includes("cluster_state:ok")) {
      throw new BusUnavailableError(`Redis at ${url.host}: the cluster isn't whole`);
    }
    return connection;
  } catch (error) {
    await connection.close();
    throw error;
  }
}
