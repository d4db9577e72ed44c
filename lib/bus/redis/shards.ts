/** Finds out which server has which part of a Redis Cluster. */
import { BusUnavailable } from "../bus.ts";
import { SLOTS } from "./key_slot.ts";
import { Link, type LinkOptions, Refused } from "./redis_connection.ts";

/** A range of slots and the master that has it. */
export interface Shard {
  /** The first slot and the last. */
  readonly from: number;
  readonly to: number;
  /** With the name and the password by which the cluster was reached. */
  readonly url: URL;
}

/**
 * Asks the first server that answers for all shards of its cluster. Rejects with {@link BusUnavailable} when
 * none can be reached, or not all slots have a server.
 */
export async function findShards(
  options: Pick<LinkOptions, "signal"> & { readonly urls: readonly URL[] },
): Promise<Shard[]> {
  let failure: unknown;
  for (const url of options.urls) {
    try {
      return await askForShards(url, options.signal);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

async function askForShards(url: URL, signal: AbortSignal): Promise<Shard[]> {
  const link = await Link.open(url, { sharded: true, receive: () => {}, signal });
  try {
    if (!link.inCluster) {
      throw new Refused(`Redis at ${url.host} is no cluster's, so only one address can be used`);
    }
    const ranges = await link.call((redis) => redis.cluster("SLOTS"));
    const shards = ranges.map(([from, to, node]) => {
      const [host, port] = node!; // the master; its replicas follow
      const master = new URL(url);
      // A server that doesn't know its own name leaves it out.
      if (host) master.hostname = host.includes(":") ? `[${host}]` : host;
      master.port = String(port);
      return { from, to, url: master };
    });
    const covered = shards.reduce((sum, { from, to }) => sum + to - from + 1, 0);
    if (covered < SLOTS) {
      throw new BusUnavailable(
        `Redis at ${url.host}: ${SLOTS - covered} slots of the cluster are on no server`,
      );
    }
    return shards;
  } finally {
    await link.close();
  }
}
