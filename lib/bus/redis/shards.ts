/** Finds out which server has which part of a Redis Cluster. */
import { BusUnavailableError } from "../bus.ts";
import { SLOT_COUNT } from "./key_slot.ts";
import { RedisConnection, type RedisConnectionOptions, RedisRefusedError } from "./redis_connection.ts";

/** A range of slots and the master that has it. */
export interface Shard {
  /** The first slot and the last. */
  readonly from: number;
  readonly to: number;
  /** With the name and the password by which the cluster was reached. */
  readonly url: URL;
}

/**
 * Asks the first server that answers for all shards of its cluster. Rejects with {@link BusUnavailableError} when
 * none can be reached, or not all slots have a server.
 */
export async function findShards(
  options: Pick<RedisConnectionOptions, "signal"> & { readonly urls: readonly URL[] },
): Promise<Shard[]> {
  let failure: unknown;
  for (const url of options.urls) {
    try {
      return await fetchShards(url, options.signal);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

async function fetchShards(url: URL, signal: AbortSignal): Promise<Shard[]> {
  const connection = await RedisConnection.open(url, { sharded: true, onMessage: () => {}, signal });
  try {
    if (!connection.inCluster) {
      throw new RedisRefusedError(`Redis at ${url.host} is no cluster's, so only one address can be used`);
    }
    const ranges = await connection.call((redis) => redis.cluster("SLOTS"));
    const shards = ranges.map(([from, to, node]) => {
      const [host, port] = node!; // the master; its replicas follow
      const master = new URL(url);
      // A server that doesn't know its own name leaves it out.
      if (host) master.hostname = host.includes(":") ? `[${host}]` : host;
      master.port = String(port);
      return { from, to, url: master };
    });
    const covered = shards.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    if (covered < SLOT_COUNT) {
      throw new BusUnavailableError(
        `Redis at ${url.host}: ${SLOT_COUNT - covered} slots of the cluster are on no server`,
      );
    }
    return shards;
  } finally {
    await connection.close();
  }
}
