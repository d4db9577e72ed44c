/**
 * The connections to all of Redis: to one server, or to every master of a cluster. They begin and end
 * together: when one is lost, or the cluster has changed, all are made anew. That costs an outage of moments,
 * which the nodes can live with, and leaves nothing to keep track of.
 */
import { BusUnavailable } from "../bus.ts";
import { keySlot, SLOTS } from "./key_slot.ts";
import { Link, type LinkOptions, Refused } from "./redis_connection.ts";
import { findShards } from "./shards.ts";

/** How to reach them. */
export interface ServersOptions extends Pick<LinkOptions, "receive" | "refused" | "signal"> {
  /** One server, or any of a cluster's: the others are found through whichever answers first. */
  readonly urls: readonly URL[];
}

/** The connections. */
export class Servers {
  /** One server, or a master each. */
  readonly links: readonly Link[];
  /** Whether they are a cluster's. */
  readonly sharded: boolean;
  readonly #bySlot: readonly Link[];

  private constructor(links: readonly Link[], bySlot: readonly Link[]) {
    this.links = links;
    this.sharded = bySlot.length > 0;
    this.#bySlot = bySlot;
  }

  /** Connects to all. Rejects with {@link BusUnavailable}, having closed what it opened. */
  static async connect(options: ServersOptions): Promise<Servers> {
    const [first, ...others] = options.urls;
    if (first && others.length === 0) {
      const link = await Link.open(first, { ...options, sharded: false });
      if (!link.inCluster && link.isMaster) return new Servers([link], []);
      await link.close();
      // It takes no locks, and what is published there only its own subscribers get.
      if (!link.inCluster) {
        throw new Refused(`Redis at ${first.host} is a replica; the address must be its master's`);
      }
    }
    const shards = await findShards(options);
    const urls = [...new Set(shards.map(({ url }) => url.href))];
    const opening = await Promise.allSettled(urls.map((url) => openMaster(new URL(url), options)));
    const links = opening.filter((result) => result.status === "fulfilled").map(({ value }) => value);
    const failure = opening.find((result) => result.status === "rejected");
    if (failure) {
      await Promise.all(links.map((link) => link.close()));
      throw failure.reason;
    }
    const bySlot = new Array<Link>(SLOTS);
    for (const { from, to, url } of shards) bySlot.fill(links[urls.indexOf(url.href)]!, from, to + 1);
    return new Servers(links, bySlot);
  }

  /** The one that has the channel or key. */
  of(name: string): Link {
    return this.sharded ? this.#bySlot[keySlot(name)]! : this.links[0]!;
  }

  /** Resolves with the reason when one of them is lost. */
  lost(): Promise<BusUnavailable> {
    return Promise.race(this.links.map((link) => link.lost));
  }

  /** Ends all as if they had failed; resolves when every call has been rejected. */
  async abandon(why: Error): Promise<void> {
    await Promise.all(this.links.map((link) => link.abandon(why)));
  }

  /** Ends all after what was sent has left. */
  async close(): Promise<void> {
    await Promise.all(this.links.map((link) => link.close()));
  }
}

/**
 * One that has just come back takes subscriptions before it knows of the other masters and takes locks, too.
 */
async function openMaster(url: URL, options: ServersOptions): Promise<Link> {
  const link = await Link.open(url, { ...options, sharded: true });
  try {
    if (!link.isMaster) throw new BusUnavailable(`Redis at ${url.host} is not a master any more`);
    const info = await link.call((redis) => redis.cluster("INFO"));
    if (!info.includes("cluster_state:ok")) {
      throw new BusUnavailable(`Redis at ${url.host}: the cluster isn't whole`);
    }
    return link;
  } catch (error) {
    await link.close();
    throw error;
  }
}
