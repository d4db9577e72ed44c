/**
 * One connection to one Redis server, from its beginning to its end: it never comes back, another takes its
 * place. What breaks it ends it, and so does an error reply to a subscription or one that says that the
 * server is the wrong one. Any other error reply (OOM, READONLY, NOPERM) fails its own call only: the
 * subscriptions are as good as before.
 *
 * Commands and subscriptions share the connection, which RESP3 allows. So Redis sees all that a node asks for
 * in the order in which it was asked, and there are no two connections that can be lost one without the
 * other.
 */
import { Redis } from "ioredis";
import type { Buffer } from "node:buffer";
import { setImmediate } from "node:timers";
import { BusUnavailable } from "../bus.ts";

/** Milliseconds between two looks at whether the server is still there. */
const LOOK_EVERY = 500;

/**
 * After how many looks without a sign of life the server is taken for lost: about two seconds. Looks rather
 * than milliseconds are counted, for a process that was held up itself is not to blame the server.
 */
const PATIENCE = 4;

/** Milliseconds that connecting may take. */
const CONNECT_WITHIN = 2_000;

/**
 * Milliseconds that the server has to take what was sent last and to close its end, when the connection is
 * closed.
 */
const FLUSH_WITHIN = 200;

const RESP_3 = 3;

/**
 * Error replies that another connection may not get: the server is, for now or for good, not the right one.
 */
const ENDING = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "NOAUTH"];

/** The server was reached, but doesn't let this node in: trying again will not help soon. */
export class Refused extends BusUnavailable {}

/** A connection that is to be made. */
export interface LinkOptions {
  /** Whether channels are those of sharded pub/sub, as in a cluster. */
  readonly sharded: boolean;
  /** Called for each message on a subscribed channel. */
  readonly receive: (channel: string, payload: Buffer) => void;
  /** Called for each command that the server refuses while the connection goes on. */
  readonly refused?: (why: BusUnavailable) => void;
  /** Gives up connecting. */
  readonly signal: AbortSignal;
}

/** A connection. */
export class Link {
  /** Resolves with the reason when the connection has failed, or was closed. */
  readonly lost: Promise<BusUnavailable>;
  readonly #tellLost: (why: BusUnavailable) => void;
  readonly #refused: LinkOptions["refused"];
  readonly #redis: Redis;
  readonly #server: string;
  readonly #sharded: boolean;
  readonly #ended: Promise<void>;
  #inCluster = false;
  #isMaster = false;
  #why: BusUnavailable | undefined;
  #looks: ReturnType<typeof setInterval> | undefined;
  #silent = 0; // looks since the last sign of life
  #corked = false;

  private constructor(url: URL, { sharded, receive, refused }: LinkOptions) {
    this.#refused = refused;
    const lost = Promise.withResolvers<BusUnavailable>();
    this.lost = lost.promise;
    this.#tellLost = lost.resolve;
    this.#server = url.host; // not the whole address, which may hold a password
    this.#sharded = sharded;
    this.#redis = new Redis(url.href, {
      lazyConnect: true,
      protocol: RESP_3,
      // Nothing is to happen again by itself: not connecting, not subscribing, not what failed.
      retryStrategy: null,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      enableReadyCheck: false, // it waits with a timer that can't be stopped
      disableClientInfo: true, // Redis before 7.2 doesn't know it
      connectTimeout: CONNECT_WITHIN,
      disconnectTimeout: FLUSH_WITHIN,
    });
    this.#ended = new Promise((resolve) => this.#redis.once("end", resolve));
    this.#redis.on("error", (error) => this.#fail(error));
    this.#redis.on("end", () => this.#fail(new Error("the connection was closed")));
    this.#redis.on("moved", () => this.#fail(new Error("a part of the cluster's channels has moved")));
    this.#redis.on(
      sharded ? "smessageBuffer" : "messageBuffer",
      (channel: Buffer, payload: Buffer) => {
        this.#silent = 0;
        receive(channel.toString(), payload);
      },
    );
  }

  /** Connects. Rejects with {@link BusUnavailable}, or {@link Refused}. */
  static async open(url: URL, options: LinkOptions): Promise<Link> {
    if (options.signal.aborted) throw new BusUnavailable("the bus is closed");
    const link = new Link(url, options);
    const giveUp = () => link.#fail(new Error("the bus is closed"));
    const late = setTimeout(() => link.#fail(new Error("no answer")), CONNECT_WITHIN);
    options.signal.addEventListener("abort", giveUp);
    try {
      await link.#redis.connect();
      if (link.#redis.condition?.protocol !== RESP_3) throw new Refused("Redis 6 or a newer one is needed");
      const hello = await link.#redis.hello(); // name, value, name, value, …
      link.#inCluster = hello[hello.indexOf("mode") + 1] === "cluster";
      link.#isMaster = hello[hello.indexOf("role") + 1] === "master";
    } catch (error) {
      link.#fail(error);
      await link.#ended;
    } finally {
      clearTimeout(late);
      options.signal.removeEventListener("abort", giveUp);
    }
    if (link.#why) throw link.#why;
    link.#looks = setInterval(() => link.#look(), LOOK_EVERY);
    // a server that is still loading lets in, but does nothing else
    await link.#callOrEnd((redis) => redis.ping());
    return link;
  }

  /** Whether the server is one of a cluster's. */
  get inCluster(): boolean {
    return this.#inCluster;
  }

  /** Whether it was a master when the connection was made, and not a replica. */
  get isMaster(): boolean {
    return this.#isMaster;
  }

  /**
   * Publishes; resolves when the server has passed it on. As all that follow, it rejects with
   * {@link BusUnavailable}.
   */
  async publish(channel: string, payload: string): Promise<void> {
    await this.call((redis) =>
      this.#sharded ? redis.spublish(channel, payload) : redis.publish(channel, payload)
    );
  }

  /** Subscribes channels, which must be of one slot in a cluster. */
  async subscribe(channels: readonly string[]): Promise<void> {
    await this.#callOrEnd((redis) =>
      this.#sharded ? redis.ssubscribe(...channels) : redis.subscribe(...channels)
    );
  }

  /** Unsubscribes channels, which must be of one slot in a cluster. */
  async unsubscribe(channels: readonly string[]): Promise<void> {
    await this.#callOrEnd((redis) =>
      this.#sharded ? redis.sunsubscribe(...channels) : redis.unsubscribe(...channels)
    );
  }

  /** How many subscribers each of the channels has. */
  async subscribers(channels: readonly string[]): Promise<number[]> {
    const counted = await this.call((redis) =>
      this.#sharded ? redis.pubsub("SHARDNUMSUB", ...channels) : redis.pubsub("NUMSUB", ...channels)
    );
    return channels.map((_, i) => Number(counted[2 * i + 1])); // name, count, name, count, …
  }

  /** The channels with subscribers whose names begin like this. */
  async channels(beginning: string): Promise<string[]> {
    const pattern = `${beginning}*`;
    const found = await this.call((redis) =>
      this.#sharded ? redis.pubsub("SHARDCHANNELS", pattern) : redis.pubsub("CHANNELS", pattern)
    );
    return found.map(String);
  }

  /** Sends a command. Calls of one turn of the event loop leave together. */
  async call<T>(send: (redis: Redis) => Promise<T>): Promise<T> {
    return await this.#call(send, (error) => {
      if (this.#why || !isReply(error) || ENDING.some((code) => error.message.startsWith(`${code} `))) {
        return this.#fail(error);
      }
      this.#silent = 0;
      const why = new BusUnavailable(`Redis at ${this.#server}: ${error.message}`);
      this.#refused?.(why);
      return why;
    });
  }

  /** Sends a command without which the connection is of no use. */
  async #callOrEnd<T>(send: (redis: Redis) => Promise<T>): Promise<T> {
    return await this.#call(send, (error) => this.#fail(error));
  }

  async #call<T>(
    send: (redis: Redis) => Promise<T>,
    failure: (error: unknown) => BusUnavailable,
  ): Promise<T> {
    if (this.#why) throw this.#why;
    this.#cork();
    try {
      return await send(this.#redis);
    } catch (error) {
      throw failure(error);
    }
  }

  /** Ends it as if it had failed, and resolves when every call has been rejected. */
  async abandon(why: Error): Promise<void> {
    this.#fail(why);
    await this.#ended;
  }

  /** Ends it after what was sent has left, without waiting for answers. */
  async close(): Promise<void> {
    clearInterval(this.#looks);
    if (this.#redis.status !== "end") this.#redis.disconnect();
    await this.#ended;
  }

  /** A write to the socket costs more than a command. */
  #cork(): void {
    if (this.#corked) return;
    const { stream } = this.#redis;
    this.#corked = true;
    stream.cork();
    setImmediate(() => {
      this.#corked = false;
      stream.uncork();
    });
  }

  #look(): void {
    if (this.#silent++ >= PATIENCE) this.#fail(new Error("no sign of life"));
    else {
      this.call((redis) => redis.ping()).then(() => this.#silent = 0, () => {});
    }
  }

  /** The first failure counts, and ends the connection; later ones are what comes of that. */
  #fail(error: unknown): BusUnavailable {
    if (this.#why) return this.#why;
    clearInterval(this.#looks);
    // The client's own errors carry the command, and so may carry the password: only their text goes on.
    const text = error instanceof Error ? error.message : String(error);
    const refused = error instanceof Refused || this.#looks === undefined && isReply(error);
    this.#why = new (refused ? Refused : BusUnavailable)(`Redis at ${this.#server}: ${text}`);
    if (this.#redis.status !== "end") this.#redis.disconnect();
    this.#tellLost(this.#why);
    return this.#why;
  }
}

function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === "ReplyError";
}
