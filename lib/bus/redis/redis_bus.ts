/** The bus over Redis: see docs/ARCHITECTURE.md for what it is used for, and bus.ts for what it promises. */
import type { Redis } from "ioredis";
import type { Buffer } from "node:buffer";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import {
  type Bus,
  type BusListener,
  BusUnavailableError,
  type Channel,
  type Hint,
  type RateLimit,
} from "../bus.ts";
import { RedisRefusedError } from "./redis_connection.ts";
import { Locks } from "./locks.ts";
import { LostNotifications } from "./lost_notifications.ts";
import { Names } from "./names.ts";
import { sleep } from "../../sleep.ts";
import { type Announcement, isAnnouncement } from "./payload.ts";
import { ALL_NODES_CHANNEL, PayloadCodec } from "./payload_codec.ts";
import { PeerNodes } from "./peer_nodes.ts";
import { RedisConnections } from "./redis_connections.ts";
import { tryConsume } from "./spend.ts";
import { Subscriptions } from "./subscriptions.ts";

/** Milliseconds before the first try to connect again, and at most: each wait is twice the one before. */
const RETRY_MS = { initial: 50, max: 1_000 } as const;

/**
 * Milliseconds before the next try when Redis was reached but lets this node not in: an operator must do
 * something.
 */
const RETRY_REFUSED_MS = 5_000;

/**
 * Milliseconds after which a connection counts as good: when one that wasn't is lost, the waits go on
 * growing.
 */
const STABLE_AFTER_MS = 5_000;

/** What there is while Redis can be reached. */
interface Connected {
  readonly connections: RedisConnections;
  readonly subscriptions: Subscriptions;
}

/** A node's connection to the others through one Redis, or through a Redis Cluster of version 7 or newer. */
export class RedisBus implements Bus {
  readonly #urls: readonly URL[];
  readonly #log: Pick<Log, "info" | "warn" | "error">;
  readonly #codec: PayloadCodec;
  /** By their names the channels that should be subscribed; the nodes' own have none. */
  readonly #desired: Map<string, Channel | undefined>;
  readonly #names: Names;
  readonly #peers: PeerNodes;
  readonly #lostNotifications: LostNotifications;
  readonly #closing = new AbortController();
  readonly #locks: Locks;
  readonly #refusalThrottle = new LogThrottle(MINUTE_MS);
  readonly #foreignKeyThrottle = new LogThrottle(MINUTE_MS);
  #running: Promise<void> = Promise.resolve();
  /**
   * From when there are connections, and from when also all is subscribed: only then others are heard and
   * told.
   */
  #connected: Connected | undefined;
  #ready: Connected | undefined;
  #attempts = 0;
  #downError: BusUnavailableError | undefined;
  /** Redis has refused a hint that a look on its channel does not make up for. */
  #needsHello = false;

  /**
   * `urls`: `redis://[user:password@]host[:port]`, or `rediss:` for TLS; of one server, or of some of a
   * cluster's. Throws a TypeError for others. `deployment`: the id of the nodes that share a database; of
   * others on the same Redis nothing is heard. `secret`: the key of these nodes, in hexadecimal; without a
   * signature by it nothing counts.
   */
  constructor(
    urls: readonly string[],
    log: Pick<Log, "info" | "warn" | "error">,
    deployment: string,
    secret: string,
  ) {
    this.#urls = urls.map(parseUrl);
    if (urls.length === 0) throw new TypeError("the bus needs the address of a Redis");
    this.#log = log;
    const names = this.#names = new Names(deployment);
    this.#codec = new PayloadCodec(secret, log);
    this.#desired = new Map([[names.allNodes, undefined], [names.node(this.#codec.id), undefined]]);
    this.#peers = new PeerNodes(names, this.#codec.id);
    this.#lostNotifications = new LostNotifications(names.allNodes);
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
    // then the next connection begins with it
    await this.#connected?.subscriptions.update(name).catch(() => {});
  }

  async unsubscribe(channel: Channel): Promise<void> {
    const name = this.#names.channel(channel);
    this.#desired.delete(name);
    await this.#connected?.subscriptions.update(name).catch(() => {});
  }

  publish(channel: Channel, hint: Hint): void {
    if (!this.#isClosed) this.#publish(this.#names.channel(channel), channel, hint);
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
    this.#publishBye();
    await this.#connected?.connections.close();
    await this.#running;
    await this.#locks.whenIdle();
  }

  /**
   * Tells the other nodes that this one commits nothing more. If that is lost, they only poll for some
   * minutes.
   */
  #publishBye(): void {
    const { allNodes } = this.#names;
    this.#ready?.connections.get(allNodes).publish(allNodes, this.#codec.announce("bye")).catch(toBusError);
  }

  get #isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Connects, again and again. */
  async #run(listener: BusListener, opened: () => void): Promise<void> {
    let delayMs: number = RETRY_MS.initial;
    while (!this.#isClosed) {
      const startedAt = performance.now();
      const error = await this.#stayConnected(listener, opened);
      opened();
      await sleep(0, this.#closing.signal); // who waits for open hears of that first
      if (this.#isClosed) break;
      this.#reportDown(listener, error);
      if (performance.now() - startedAt > STABLE_AFTER_MS) delayMs = RETRY_MS.initial;
      await sleep(error instanceof RedisRefusedError ? RETRY_REFUSED_MS : delayMs, this.#closing.signal);
      delayMs = Math.min(2 * delayMs, RETRY_MS.max);
    }
  }

  /** Connects and gives the reason when the connections have ended, or could not be made. */
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
      if (this.#isClosed) throw reason; // while it was connecting, when there was nothing to close yet
      const connected = this.#connected = { connections, subscriptions };
      await subscriptions.subscribeAll();
      // A node that subscribes later says hello to this one; one that has subscribed earlier is found.
      this.#peers.addAll(await connections.get(allNodes).channels(this.#names.node("")));
      this.#needsHello = false;
      await connections.get(allNodes).publish(allNodes, this.#codec.announce("hello"));
      this.#ready = connected;
      const countSubscribers = (names: readonly string[]) => subscriptions.countSubscribers(names);
      const watch = {
        countSubscribers,
        sendHeartbeat: () => void this.#sendHeartbeat(connections).catch(toBusError),
        onNodeLeft: () => listener.onNodeLeft(),
        onSilenceChange: (isSilent: boolean) => listener.onSilenceChange(isSilent),
      };
      watching = this.#peers.watch(watch, ended.signal, this.#downError !== undefined)
        .catch((error) => void toBusError(error));
      opened();
      this.#reportUp(listener);
      reason = await connections.closed();
    } catch (error) {
      reason = toBusError(error);
    } finally {
      ended.abort();
      this.#connected = undefined;
      this.#ready = undefined;
      await (this.#isClosed ? connections.close() : connections.destroy(reason));
      await watching;
    }
    return reason;
  }

  /** Another one first each time, for one that answers may still be wrong about its cluster. */
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
    this.#requestResyncs();
  }

  /**
   * Publishes a heartbeat. When Redis takes that, it may also take what it has refused: looks where messages
   * were lost, and a hello, after which the other nodes look for logins and friends.
   */
  async #sendHeartbeat(connections: RedisConnections): Promise<void> {
    const { allNodes } = this.#names;
    const kind = this.#needsHello ? "hello" : "beat";
    this.#needsHello = false;
    try {
      await connections.get(allNodes).publish(allNodes, this.#codec.announce(kind));
    } catch (error) {
      this.#needsHello ||= kind === "hello";
      throw error;
    }
    if (this.#ready?.connections === connections) this.#requestResyncs();
  }

  #requestResyncs(): void {
    for (const name of this.#lostNotifications.drain()) {
      this.#publish(name, this.#names.channelOf(name), { kind: "look" });
    }
  }

  #publish(name: string, channel: Channel, hint: Hint): void {
    const onLost = () => {
      if (hint.kind === "presence" || hint.kind === "takeover") this.#needsHello = true;
      else this.#lostNotifications.add(name);
    };
    if (this.#ready) {
      this.#ready.connections.get(name).publish(name, this.#codec.write(channel, hint)).catch(onLost);
    } else onLost();
  }

  #logForeignKey(key: string): void {
    this.#foreignKeyThrottle.log((count) =>
      this.#log.warn("replaced a key in Redis that no node has written", { key, count })
    );
  }

  #onMessage(listener: BusListener, name: string, bytes: Buffer): void {
    const channel = name === this.#names.allNodes ? ALL_NODES_CHANNEL : this.#desired.get(name);
    if (channel === undefined) return; // it has just been unsubscribed
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
    if (channel !== ALL_NODES_CHANNEL) listener.onHint(channel, hint);
    else {
      for (const each of [...this.#desired.values()]) if (each !== undefined) listener.onHint(each, hint);
    }
  }

  async #send<T>(key: string, send: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.#ready) throw this.#unavailable;
    return await this.#ready.connections.get(key).call(send);
  }

  get #unavailable(): BusUnavailableError {
    return this.#downError ?? new BusUnavailableError("there is no connection to Redis yet");
  }
}

/** A failure of the connection; anything else is a mistake in the program and goes on. */
function toBusError(error: unknown): BusUnavailableError {
  if (error instanceof BusUnavailableError) return error;
  throw error;
}

function closedError(): BusUnavailableError {
  return new BusUnavailableError("the bus is closed");
}

/** Says nothing of the address itself, which may hold a password. */
function parseUrl(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.hostname && ["redis:", "rediss:"].includes(url.protocol)) return url;
  throw new TypeError(
    "the address of a Redis must be like redis://host:6379 or redis://user:password@host:6379",
  );
}
