/**
 * Names of keys and channels in Redis. In a cluster, the part in braces decides on which server a name is. So
 * all keys of one user or group are on one server, and so are all announcements of nodes.
 */
import type { Channel } from "../bus.ts";

/** The beginning of every name, which separates the names from those of other programs. */
const PREFIX = "chat";

/** The names of one deployment. Another deployment on the same Redis uses none of them. */
export class Names {
  /** The channel that every node of the deployment subscribes. */
  readonly allNodes: string;
  readonly #prefix: string;

  /**
   * `deployment` is the id of the deployment. It is outside of the braces, and so does not affect the slot.
   */
  constructor(deployment: string) {
    this.#prefix = `${PREFIX}:${deployment}:`;
    this.allNodes = `${this.#prefix}{nodes}`;
  }

  /** Returns the name of the channel of a user or group. */
  channel(channel: Channel): string {
    return channel > 0 ? `${this.#prefix}u:{${channel}}` : `${this.#prefix}g:{${-channel}}`;
  }

  /**
   * Returns the channel of a name that {@link Names.channel} has returned. Returns 0 for the channel of all
   * nodes, as 0 is neither a user nor a group.
   */
  channelOf(name: string): Channel {
    const [, kind, id] = /:([ug]):\{(\d+)\}$/.exec(name) ?? [];
    return kind === "g" ? -Number(id) : Number(id ?? 0);
  }

  /** Returns the key of the lock on a user's login. */
  lock(user: number): string {
    return `${this.#prefix}lock:{${user}}`;
  }

  /** Returns the key of a token bucket. */
  bucket(bucket: string): string {
    return `${this.#prefix}bucket:{${bucket}}`;
  }

  /**
   * Returns the channel of the node with this id. Only that node subscribes it, which shows the others that
   * the node is alive.
   */
  node(id: string): string {
    return `${this.allNodes}:${id}`;
  }

  /** Returns the id in the name of a node's channel. */
  nodeId(name: string): string {
    return name.slice(this.allNodes.length + 1);
  }
}
