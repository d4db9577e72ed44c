/**
 * What things are called in Redis. In a cluster the part in braces decides where a name lives, so that each
 * user and each group is on one server, and all that the nodes tell each other of themselves is on one, too.
 */
import type { Channel } from "../bus.ts";

/** Other programs' names in the same Redis begin otherwise. */
const PREFIX = "chat";

/** The names that one deployment uses: another deployment on the same Redis uses none of them. */
export class Names {
  /** The channel that every node of the deployment listens to. */
  readonly allNodes: string;
  readonly #prefix: string;

  /**
   * `deployment`: the deployment's id. It stands outside the braces, so that names spread over a cluster as
   * before.
   */
  constructor(deployment: string) {
    this.#prefix = `${PREFIX}:${deployment}:`;
    this.allNodes = `${this.#prefix}{nodes}`;
  }

  /** The name of a user's or a group's channel. */
  channel(channel: Channel): string {
    return channel > 0 ? `${this.#prefix}u:{${channel}}` : `${this.#prefix}g:{${-channel}}`;
  }

  /**
   * The channel of a name that {@link Names.channel} has given; 0 for that of all nodes, which is no
   * channel's number.
   */
  channelOf(name: string): Channel {
    const [, kind, id] = /:([ug]):\{(\d+)\}$/.exec(name) ?? [];
    return kind === "g" ? -Number(id) : Number(id ?? 0);
  }

  /** The key of the lock on a user's login. */
  lock(user: number): string {
    return `${this.#prefix}lock:{${user}}`;
  }

  /** The key of a bucket. */
  bucket(bucket: string): string {
    return `${this.#prefix}bucket:{${bucket}}`;
  }

  /** The channel that only the node with this id subscribes, to be seen by the others. */
  node(id: string): string {
    return `${this.allNodes}:${id}`;
  }

  /** The id in a node's channel's name. */
  nodeId(name: string): string {
    return name.slice(this.allNodes.length + 1);
  }
}
