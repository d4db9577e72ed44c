/** Finds the master of each slot of a Redis Cluster. */
import { BusUnavailableError } from "../bus.ts";
import { SLOT_COUNT } from "./key_slot.ts";
import { RedisConnection, type RedisConnectionOptions, RedisRefusedError } from "./redis_connection.ts";

/** A range of slots, and the master that owns it. */
export interface Shard {
  /** The first and the last slot. */
  readonly from: number;
  readonly to: number;
  /** With the account by which the cluster was reached. */
  readonly url: URL;
}

/**
 * Asks the first server that replies for all shards of its cluster. Rejects with {@link BusUnavailableError}
 * if none replies, or if some slots have no server.
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
      throw new RedisRefusedError(`Redis at ${url.host} is not part of a cluster: give one address only`);
    }
    const ranges = await connection.call((redis) => redis.cluster("SLOTS"));
    const shards = ranges.map(([from, to, node]) => {
      const [host, port] = node!; // the master; its replicas follow
      const master = new URL(url);
      // A server that does not know its own name omits it.
      if (host) master.hostname = host.includes(":") ? `[${host}]` : host;
      master.port = String(port);
      return { from, to, url: master };
    });
    const covered = shards.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    if (covered < SLOT_COUNT) {
      throw new BusUnavailableError(
        `Redis at ${url.host}: ${SLOT_COUNT - covered} slots of the cluster have no server`,
      );
    }
    return shards;
  } finally {
    await connection.close();
  }
}
