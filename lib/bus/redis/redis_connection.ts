/**
 * One connection to one Redis server. It never reconnects: a new connection replaces it. It ends when it
 * breaks, when the server rejects a subscription, and when a reply says that the server is the wrong one. Any
 * other error reply (OOM, READONLY, NOPERM) fails its own call only, and the subscriptions stay.
 *
 * Commands and subscriptions share the connection, as RESP3 allows. So Redis sees all requests of a node in
 * their order, and one half cannot be lost without the other.
 */
import { Redis } from "ioredis";
import type { Buffer } from "node:buffer";
import { setImmediate } from "node:timers";
import { BusUnavailableError, closedError } from "../bus.ts";

/** Milliseconds between two pings. */
const PING_INTERVAL_MS = 500;

/**
 * Pings without a reply after which the connection counts as lost: about two seconds. The unit is pings and
 * not milliseconds: after a pause of this process, the server is not to blame.
 */
const MAX_MISSED_PINGS = 4;

/** Milliseconds that connecting may take. */
const CONNECT_TIMEOUT_MS = 2_000;

/** Milliseconds that the server has to accept the last bytes and to close its end. */
const CLOSE_TIMEOUT_MS = 200;

const RESP_3 = 3;

/** Error replies that end the connection: the server is the wrong one, for now or permanently. */
const FATAL_REPLIES = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "NOAUTH"];

/** The server is reachable and refuses this node. A new attempt will not succeed soon. */
export class RedisRefusedError extends BusUnavailableError {}

/** The options of a connection. */
export interface RedisConnectionOptions {
  /** Whether channels are those of sharded publish/subscribe, as in a cluster. */
  readonly sharded: boolean;
  /** Called for each message on a subscribed channel. */
  readonly onMessage: (channel: string, payload: Buffer) => void;
  /** Called for each command that the server refuses without the end of the connection. */
  readonly onCommandError?: (error: BusUnavailableError) => void;
  /** Aborts connecting. */
  readonly signal: AbortSignal;
}

/** A connection to one server. */
export class RedisConnection {
  /** Resolves to the error when the connection has failed or was closed. */
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
  #missedPings = 0; // since the last reply or message
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
      // The driver must repeat nothing by itself: no connecting, no subscribing, no failed command.
      retryStrategy: null,
      autoResubscribe: false,
      autoResendUnfulfilledCommands: false,
      enableOfflineQueue: false,
      enableReadyCheck: false, // it waits with a timer that cannot be stopped
      disableClientInfo: true, // Redis before 7.2 does not know it
      connectTimeout: CONNECT_TIMEOUT_MS,
      disconnectTimeout: CLOSE_TIMEOUT_MS,
    });
    this.#ended = new Promise((resolve) => this.#redis.once("end", resolve));
    this.#redis.on("error", (error) => this.#fail(error));
    this.#redis.on("end", () => this.#fail(new Error("the connection was closed")));
    this.#redis.on(
      "moved",
      () => this.#fail(new Error("some channels have moved to another server of the cluster")),
    );
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
    if (options.signal.aborted) throw closedError();
    const connection = new RedisConnection(url, options);
    const onAbort = () => connection.#fail(closedError());
    const timer = setTimeout(
      () => connection.#fail(new Error(`no reply within ${CONNECT_TIMEOUT_MS} ms`)),
      CONNECT_TIMEOUT_MS,
    );
    options.signal.addEventListener("abort", onAbort);
    try {
      await connection.#redis.connect();
      if (connection.#redis.condition?.protocol !== RESP_3) {
        throw new RedisRefusedError("version 6 or later is required");
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
    // a server that is loading its data accepts connections, but no other command
    await connection.#callOrFail((redis) => redis.ping());
    return connection;
  }

  /** Whether the server is part of a cluster. */
  get inCluster(): boolean {
    return this.#inCluster;
  }

  /** Whether the server was a master, and not a replica, when the connection was made. */
  get isMaster(): boolean {
    return this.#isMaster;
  }

  /**
   * Publishes a payload. Resolves when the server has forwarded it. This and all later methods reject with
   * {@link BusUnavailableError}.
   */
  async publish(channel: string, payload: string): Promise<void> {
    await this.call((redis) =>
      this.#sharded ? redis.spublish(channel, payload) : redis.publish(channel, payload)
    );
  }

  /** Subscribes channels. In a cluster all must be in one slot. */
  async subscribe(channels: readonly string[]): Promise<void> {
    await this.#callOrFail((redis) =>
      this.#sharded ? redis.ssubscribe(...channels) : redis.subscribe(...channels)
    );
  }

  /** Unsubscribes channels. In a cluster all must be in one slot. */
  async unsubscribe(channels: readonly string[]): Promise<void> {
    await this.#callOrFail((redis) =>
      this.#sharded ? redis.sunsubscribe(...channels) : redis.unsubscribe(...channels)
    );
  }

  /** Returns the number of subscribers of each channel. */
  async subscribers(channels: readonly string[]): Promise<number[]> {
    const reply = await this.call((redis) =>
      this.#sharded ? redis.pubsub("SHARDNUMSUB", ...channels) : redis.pubsub("NUMSUB", ...channels)
    );
    return channels.map((_, i) => Number(reply[2 * i + 1])); // name, count, name, count, …
  }

  /** Returns the channels with subscribers whose names begin with `prefix`. */
  async channels(prefix: string): Promise<string[]> {
    const pattern = `${prefix}*`;
    const reply = await this.call((redis) =>
      this.#sharded ? redis.pubsub("SHARDCHANNELS", pattern) : redis.pubsub("CHANNELS", pattern)
    );
    return reply.map(String);
  }

  /** Sends a command. The calls of one event-loop iteration leave in one write. */
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

  /** Sends a command whose failure makes the connection useless, and so ends it. */
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

  /** Ends the connection as a failure does. Resolves when every pending call has been rejected. */
  async destroy(error: Error): Promise<void> {
    this.#fail(error);
    await this.#ended;
  }

  /** Ends the connection after the bytes sent so far have left, without waiting for replies. */
  async close(): Promise<void> {
    clearInterval(this.#pingTimer);
    if (this.#redis.status !== "end") this.#redis.disconnect();
    await this.#ended;
  }

  /** Collects the commands of an event-loop iteration: a write to the socket costs more than a command. */
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
    if (this.#missedPings++ >= MAX_MISSED_PINGS) {
      this.#fail(new Error(`no reply for ${MAX_MISSED_PINGS * PING_INTERVAL_MS} ms`));
    } else {
      this.call((redis) => redis.ping()).then(() => this.#missedPings = 0, () => {});
    }
  }

  /**
   * Ends the connection by its first failure. Later failures are consequences of the first, and return it.
   */
  #fail(error: unknown): BusUnavailableError {
    if (this.#error) return this.#error;
    clearInterval(this.#pingTimer);
    // The driver's errors carry the command, which may have the password: only their text goes on.
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
