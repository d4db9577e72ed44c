/** The bus over Redis. bus.ts has its contract, and docs/ARCHITECTURE.md its uses. */
import type { Redis } from "ioredis";
import type { Buffer } from "node:buffer";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import {
  type Bus,
  type BusListener,
  BusUnavailableError,
  type Channel,
  closedError,
  type Hint,
  type RateLimit,
} from "../bus.ts";
import { Locks } from "./locks.ts";
import { Names } from "./names.ts";
import { sleep } from "../../sleep.ts";
import { type Announcement, isAnnouncement } from "./payload.ts";
import { ALL_NODES_CHANNEL, PayloadCodec } from "./payload_codec.ts";
import { PeerNodes } from "./peer_nodes.ts";
import { Publisher } from "./publisher.ts";
import { RedisRefusedError } from "./redis_connection.ts";
import { RedisConnections } from "./redis_connections.ts";
import { parseRedisUrl } from "./redis_url.ts";
import { tryConsume } from "./shared_buckets.ts";
import { Subscriptions } from "./subscriptions.ts";

/** Milliseconds before the first attempt to reconnect, and at most. Each pause is twice the one before. */
const RETRY_MS = { initial: 50, max: 1_000 } as const;

/** Milliseconds before the next attempt if Redis refuses the node: an operator must act first. */
const RETRY_REFUSED_MS = 5_000;

/** Milliseconds after which a connection is stable: after its loss, pauses begin with the shortest again. */
const STABLE_AFTER_MS = 5_000;

/** The state while Redis is connected. */
interface Connected {
  readonly connections: RedisConnections;
  readonly subscriptions: Subscriptions;
}

/** A node's connection to the others through one Redis server, or a Redis Cluster of version 7 or later. */
export class RedisBus implements Bus {
  readonly #urls: readonly URL[];
  readonly #log: Pick<Log, "info" | "warn" | "error">;
  readonly #codec: PayloadCodec;
  /** The channels to be subscribed, by names in Redis. The channels of nodes have no number. */
  readonly #desired: Map<string, Channel | undefined>;
  readonly #names: Names;
  readonly #peers: PeerNodes;
  readonly #publisher: Publisher;
  readonly #closing = new AbortController();
  readonly #locks: Locks;
  readonly #refusalThrottle = new LogThrottle(MINUTE_MS);
  readonly #foreignKeyThrottle = new LogThrottle(MINUTE_MS);
  #running: Promise<void> = Promise.resolve();
  /** Set while there are connections. */
  #connected: Connected | undefined;
  /** Set while all desired channels are subscribed too. Only then the node delivers and publishes hints. */
  #ready: Connected | undefined;
  #attempts = 0;
  #downError: BusUnavailableError | undefined;

  /**
   * `urls`: one server, or some servers of a cluster; see {@link parseRedisUrl}, which throws. `deployment`:
   * the id of the nodes that share a database; the bus ignores other deployments. `secret`: the key of the
   * deployment in hexadecimal; the bus ignores payloads without its signature.
   */
  constructor(
    urls: readonly string[],
    log: Pick<Log, "info" | "warn" | "error">,
    deployment: string,
    secret: string,
  ) {
    this.#urls = urls.map(parseRedisUrl);
    if (urls.length === 0) throw new TypeError("The bus needs the address of at least one Redis server");
    this.#log = log;
    const names = this.#names = new Names(deployment);
    this.#codec = new PayloadCodec(secret, log);
    this.#desired = new Map([[names.allNodes, undefined], [names.node(this.#codec.id), undefined]]);
    this.#peers = new PeerNodes(names, this.#codec.id);
    this.#publisher = new Publisher(names, this.#codec);
    this.#locks = new Locks(
      (key, send) => this.#send(key, send),
      names,
      this.#closing.signal,
      (key) => this.#logForeignKey(key),
    );
  }

  adopt(epoch: string): void {
    this.#codec.adopt(epoch);
  }

  async open(listener: BusListener): Promise<void> {
    if (this.#isClosed) throw closedError();
    const opened = Promise.withResolvers<void>();
    this.#running = this.#run(listener, opened.resolve);
    await opened.promise;
  }

  async subscribe(channel: Channel): Promise<void> {
    if (this.#isClosed) throw closedError();
    const name = this.#names.channel(channel);
    this.#desired.set(name, channel);
    await this.#connected?.subscriptions.update(name).catch(() => {}); // the next connection subscribes it
  }

  async unsubscribe(channel: Channel): Promise<void> {
    const name = this.#names.channel(channel);
    this.#desired.delete(name);
    await this.#connected?.subscriptions.update(name).catch(() => {});
  }

  publish(channel: Channel, hint: Hint): void {
    if (!this.#isClosed) this.#publisher.publish(channel, hint);
  }

  async online(users: readonly number[]): Promise<ReadonlySet<number>> {
    if (this.#isClosed) throw closedError();
    if (!this.#ready) throw this.#unavailable;
    const counts = await this.#ready.subscriptions.countSubscribers(
      users.map((user) => this.#names.channel(user)),
    );
    return new Set(users.filter((user) => counts.get(this.#names.channel(user))! > 0));
  }

  async lock(user: number): Promise<() => Promise<void>> {
    if (this.#isClosed) throw closedError();
    return await this.#locks.acquire(user);
  }

  async tryConsume(bucket: string, limit: RateLimit, count: number): Promise<number> {
    if (this.#isClosed) throw closedError();
    const key = this.#names.bucket(bucket);
    const { waitMs, isForeign } = await tryConsume((key, send) => this.#send(key, send), key, limit, count);
    if (isForeign) this.#logForeignKey(key);
    return waitMs;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#locks.close(closedError());
    this.#publisher.publishBye();
    await this.#connected?.connections.close();
    await this.#running;
    await this.#locks.whenIdle();
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Connects, and reconnects after each failure until the bus is closed. */
  async #run(listener: BusListener, opened: () => void): Promise<void> {
    let delayMs: number = RETRY_MS.initial;
    while (!this.#isClosed) {
      const startedAt = performance.now();
      const error = await this.#stayConnected(listener, opened);
      opened();
      await sleep(0, this.#closing.signal); // the caller of open continues before the listener is called
      if (this.#isClosed) break;
      this.#reportDown(listener, error);
      if (performance.now() - startedAt > STABLE_AFTER_MS) delayMs = RETRY_MS.initial;
      await sleep(error instanceof RedisRefusedError ? RETRY_REFUSED_MS : delayMs, this.#closing.signal);
      delayMs = Math.min(2 * delayMs, RETRY_MS.max);
    }
  }

  /** Connects, and resolves to the error that ended the connections or made connecting fail. */
  async #stayConnected(listener: BusListener, opened: () => void): Promise<BusUnavailableError> {
    let connections: RedisConnections;
    try {
      connections = await RedisConnections.connect({
        urls: this.#rotatedUrls(),
        onMessage: (name, payload) => this.#onMessage(listener, name, payload),
        onCommandError: (error) =>
          this.#refusalThrottle.log((count) => this.#log.warn("Redis refuses commands", { error, count })),
        signal: this.#closing.signal,
      });
    } catch (error) {
      return toBusError(error);
    }
    const subscriptions = new Subscriptions(connections, this.#desired);
    const { allNodes } = this.#names;
    const ended = new AbortController();
    let watching: Promise<void> | undefined;
    let reason = closedError();
    try {
      if (this.#isClosed) throw reason; // closed while connecting: close() had no connections to end yet
      const connected = this.#connected = { connections, subscriptions };
      await subscriptions.subscribeAll();
      // A node that subscribes later announces itself. A node that subscribed earlier is in the list.
      this.#peers.addAll(await connections.get(allNodes).channels(this.#names.node("")));
      await this.#publisher.attach(connections);
      this.#ready = connected;
      watching = this.#watchPeers(connected, listener, ended.signal);
      opened();
      this.#reportUp(listener);
      reason = await connections.closed();
    } catch (error) {
      reason = toBusError(error);
    } finally {
      ended.abort();
      this.#connected = undefined;
      this.#ready = undefined;
      this.#publisher.detach();
      await (this.#isClosed ? connections.close() : connections.destroy(reason));
      await watching;
    }
    return reason;
  }

  async #watchPeers(
    { connections, subscriptions }: Connected,
    listener: BusListener,
    signal: AbortSignal,
  ): Promise<void> {
    const options = {
      countSubscribers: (names: readonly string[]) => subscriptions.countSubscribers(names),
      sendHeartbeat: () => void this.#publisher.sendHeartbeat(connections),
      onNodeLeft: () => listener.onNodeLeft(),
      onSilenceChange: (isSilent: boolean) => listener.onSilenceChange(isSilent),
    };
    await this.#peers.watch(options, signal, this.#downError !== undefined)
      .catch((error) => void toBusError(error));
  }

  /** Returns the addresses in rotation: a server that answers may have stale data of its cluster. */
  #rotatedUrls(): URL[] {
    const first = this.#attempts++ % this.#urls.length;
    return [...this.#urls.slice(first), ...this.#urls.slice(0, first)];
  }

  #reportDown(listener: BusListener, error: BusUnavailableError): void {
    if (error.message !== this.#downError?.message || error instanceof RedisRefusedError) {
      const level = error instanceof RedisRefusedError ? "error" : "warn";
      this.#log[level]("no connection to the other nodes", { error });
    }
    const wasDown = this.#downError !== undefined;
    this.#downError = error;
    this.#locks.rejectWaiters(error);
    if (!wasDown) listener.onBusDown(error);
  }

  #reportUp(listener: BusListener): void {
    if (this.#downError) {
      this.#downError = undefined;
      this.#log.info("connected to the other nodes again");
      listener.onBusUp();
    }
    this.#publisher.requestResyncs();
  }

  #logForeignKey(key: string): void {
    this.#foreignKeyThrottle.log((count) =>
      this.#log.warn("replaced a key in Redis that no node has written", { key, count })
    );
  }

  #onMessage(listener: BusListener, name: string, bytes: Buffer): void {
    const channel = name === this.#names.allNodes ? ALL_NODES_CHANNEL : this.#desired.get(name);
    if (channel === undefined) return; // unsubscribed while the message was on its way
    const decoded = this.#codec.read(channel, name, bytes);
    if (!decoded) return;
    const { sender, payload } = decoded;
    if (isAnnouncement(payload)) this.#onAnnouncement(listener, sender, payload);
    else if (this.#ready) this.#deliver(listener, channel, payload);
  }

  #onAnnouncement(listener: BusListener, sender: string, { kind }: Announcement): void {
    if (kind === "bye") return this.#peers.markLeaving(sender);
    this.#peers.add(sender);
    if (this.#ready && kind === "hello") listener.onNodeJoined();
  }

  #deliver(listener: BusListener, channel: Channel, hint: Hint): void {
    if (channel !== ALL_NODES_CHANNEL) return listener.onHint(channel, hint);
    for (const each of [...this.#desired.values()]) if (each !== undefined) listener.onHint(each, hint);
  }

  async #send<T>(key: string, send: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.#ready) throw this.#unavailable;
    return await this.#ready.connections.get(key).call(send);
  }

  get #unavailable(): BusUnavailableError {
    return this.#downError ?? new BusUnavailableError("there is no connection to Redis yet");
  }
}

/** Returns a failure of the connection. Throws every other error, which is a programming error. */
function toBusError(error: unknown): BusUnavailableError {
  if (error instanceof BusUnavailableError) return error;
  throw error;
}
