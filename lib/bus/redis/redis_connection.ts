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
import { BusUnavailableError } from "../bus.ts";

/** Milliseconds between two looks at whether the server is still there. */
const PING_INTERVAL_MS = 500;

/**
 * After how many looks without a sign of life the server is taken for lost: about two seconds. Looks rather
 * than milliseconds are counted, for a process that was held up itself is not to blame the server.
 */
const MAX_MISSED_PINGS = 4;

/** Milliseconds that connecting may take. */
const CONNECT_TIMEOUT_MS = 2_000;

/**
 * Milliseconds that the server has to take what was sent last and to close its end, when the connection is
 * closed.
 */
const CLOSE_TIMEOUT_MS = 200;

const RESP_3 = 3;

/**
 * Error replies that another connection may not get: the server is, for now or for good, not the right one.
 */
const FATAL_REPLIES = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "NOAUTH"];

/** The server was reached, but doesn't let this node in: trying again will not help soon. */
export class RedisRefusedError extends BusUnavailableError {}

/** A connection that is to be made. */
export interface RedisConnectionOptions {
  /** Whether channels are those of sharded pub/sub, as in a cluster. */
  readonly sharded: boolean;
  /** Called for each message on a subscribed channel. */
  readonly onMessage: (channel: string, payload: Buffer) => void;
  /** Called for each command that the server refuses while the connection goes on. */
  readonly onCommandError?: (error: BusUnavailableError) => void;
  /** Gives up connecting. */
  readonly signal: AbortSignal;
}

/** A connection. */
export class RedisConnection {
  /** Resolves with the reason when the connection has failed, or was closed. */
  readonly closed: Promise<BusUnavailableError>;
  readonly #resolveClosed: (error: BusUnavailableError) => void;
  readonly #onCommandError: RedisConnectionOptions["onCommandError"];
  readonly #redis: Redis;
  readonly #host: string;
  readonly #sharded: boolean;
  readonly #ended: Promise<void>;
  #inCluster = false;
  #isMaster = false;
  #error: BusUnavailableError | undefined;
  #pingTimer: ReturnType<typeof setInterval> | undefined;
  #missedPings = 0; // looks since the last sign of life
  #isCorked = false;

  private constructor(url: URL, { sharded, onMessage, onCommandError }: RedisConnectionOptions) {
    this.#onCommandError = onCommandError;
    const closed = Promise.withResolvers<BusUnavailableError>();
    this.closed = closed.promise;
    this.#resolveClosed = closed.resolve;
    this.#host = url.host; // not the whole address, which may hold a password
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
      connectTimeout: CONNECT_TIMEOUT_MS,
      disconnectTimeout: CLOSE_TIMEOUT_MS,
    });
    this.#ended = new Promise((resolve) => this.#redis.once("end", resolve));
    this.#redis.on("error", (error) => this.#fail(error));
    this.#redis.on("end", () => this.#fail(new Error("the connection was closed")));
    this.#redis.on("moved", () => this.#fail(new Error("a part of the cluster's channels has moved")));
    this.#redis.on(
      sharded ? "smessageBuffer" : "messageBuffer",
      (channel: Buffer, payload: Buffer) => {
        this.#missedPings = 0;
        onMessage(channel.toString(), payload);
      },
    );
  }

  /** Connects. Rejects with {@link BusUnavailableError}, or {@link RedisRefusedError}. */
  static async open(url: URL, options: RedisConnectionOptions): Promise<RedisConnection> {
    if (options.signal.aborted) throw new BusUnavailableError("the bus is closed");
    const connection = new RedisConnection(url, options);
    const onAbort = () => connection.#fail(new Error("the bus is closed"));
    const timer = setTimeout(() => connection.#fail(new Error("no answer")), CONNECT_TIMEOUT_MS);
    options.signal.addEventListener("abort", onAbort);
    try {
      await connection.#redis.connect();
      if (connection.#redis.condition?.protocol !== RESP_3) {
        throw new RedisRefusedError("Redis 6 or a newer one is needed");
      }
      const hello = await connection.#redis.hello(); // name, value, name, value, …
      connection.#inCluster = hello[hello.indexOf("mode") + 1] === "cluster";
      connection.#isMaster = hello[hello.indexOf("role") + 1] === "master";
    } catch (error) {
      connection.#fail(error);
      await connection.#ended;
    } finally {
      clearTimeout(timer);
      options.signal.removeEventListener("abort", onAbort);
    }
    if (connection.#error) throw connection.#error;
    connection.#pingTimer = setInterval(() => connection.#ping(), PING_INTERVAL_MS);
    // a server that is still loading lets in, but does nothing else
    await connection.#callOrFail((redis) => redis.ping());
    return connection;
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
   * {@link BusUnavailableError}.
   */
  async publish(channel: string, payload: string): Promise<void> {
    await this.call((redis) =>
      this.#sharded ? redis.spublish(channel, payload) : redis.publish(channel, payload)
    );
  }

  /** Subscribes channels, which must be of one slot in a cluster. */
  async subscribe(channels: readonly string[]): Promise<void> {
    await this.#callOrFail((redis) =>
      this.#sharded ? redis.ssubscribe(...channels) : redis.subscribe(...channels)
    );
  }

  /** Unsubscribes channels, which must be of one slot in a cluster. */
  async unsubscribe(channels: readonly string[]): Promise<void> {
    await this.#callOrFail((redis) =>
      this.#sharded ? redis.sunsubscribe(...channels) : redis.unsubscribe(...channels)
    );
  }

  /** How many subscribers each of the channels has. */
  async subscribers(channels: readonly string[]): Promise<number[]> {
    const reply = await this.call((redis) =>
      this.#sharded ? redis.pubsub("SHARDNUMSUB", ...channels) : redis.pubsub("NUMSUB", ...channels)
    );
    return channels.map((_, i) => Number(reply[2 * i + 1])); // name, count, name, count, …
  }

  /** The channels with subscribers whose names begin like this. */
  async channels(prefix: string): Promise<string[]> {
    const pattern = `${prefix}*`;
    const reply = await this.call((redis) =>
      this.#sharded ? redis.pubsub("SHARDCHANNELS", pattern) : redis.pubsub("CHANNELS", pattern)
    );
    return reply.map(String);
  }

  /** Sends a command. Calls of one turn of the event loop leave together. */
  async call<T>(send: (redis: Redis) => Promise<T>): Promise<T> {
    return await this.#call(send, (error) => {
      if (
        this.#error || !isReply(error) || FATAL_REPLIES.some((code) => error.message.startsWith(`${code} `))
      ) {
        return this.#fail(error);
      }
      this.#missedPings = 0;
      const failure = new BusUnavailableError(`Redis at ${this.#host}: ${error.message}`);
      this.#onCommandError?.(failure);
      return failure;
    });
  }

  /** Sends a command without which the connection is of no use. */
  async #callOrFail<T>(send: (redis: Redis) => Promise<T>): Promise<T> {
    return await this.#call(send, (error) => this.#fail(error));
  }

  async #call<T>(
    send: (redis: Redis) => Promise<T>,
    toError: (error: unknown) => BusUnavailableError,
  ): Promise<T> {
    if (this.#error) throw this.#error;
    this.#cork();
    try {
      return await send(this.#redis);
    } catch (error) {
      throw toError(error);
    }
  }

  /** Ends it as if it had failed, and resolves when every call has been rejected. */
  async destroy(error: Error): Promise<void> {
    this.#fail(error);
    await this.#ended;
  }

  /** Ends it after what was sent has left, without waiting for answers. */
  async close(): Promise<void> {
    clearInterval(this.#pingTimer);
    if (this.#redis.status !== "end") this.#redis.disconnect();
    await this.#ended;
  }

  /** A write to the socket costs more than a command. */
  #cork(): void {
    if (this.#isCorked) return;
    const { stream } = this.#redis;
    this.#isCorked = true;
    stream.cork();
    setImmediate(() => {
      this.#isCorked = false;
      stream.uncork();
    });
  }

  #ping(): void {
    if (this.#missedPings++ >= MAX_MISSED_PINGS) this.#fail(new Error("no sign of life"));
    else {
      this.call((redis) => redis.ping()).then(() => this.#missedPings = 0, () => {});
    }
  }

  /** The first failure counts, and ends the connection; later ones are what comes of that. */
  #fail(error: unknown): BusUnavailableError {
    if (this.#error) return this.#error;
    clearInterval(this.#pingTimer);
    // The client's own errors carry the command, and so may carry the password: only their text goes on.
    const text = error instanceof Error ? error.message : String(error);
    const isRefused = error instanceof RedisRefusedError || this.#pingTimer === undefined && isReply(error);
    this.#error = new (isRefused ? RedisRefusedError : BusUnavailableError)(
      `Redis at ${this.#host}: ${text}`,
    );
    if (this.#redis.status !== "end") this.#redis.disconnect();
    this.#resolveClosed(this.#error);
    return this.#error;
  }
}

function isReply(error: unknown): error is Error {
  return error instanceof Error && error.name === "ReplyError";
}
