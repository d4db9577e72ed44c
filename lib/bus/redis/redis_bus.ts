/** The bus over Redis: see docs/ARCHITECTURE.md for what it is used for, and bus.ts for what it promises. */
import type { Redis } from "ioredis";
import type { Buffer } from "node:buffer";
import { type Log, MINUTELY, Seldom } from "../../log.ts";
import { type Bus, BusUnavailable, type Channel, type Hint, type Listener, type Quota } from "../bus.ts";
import { Refused } from "./redis_connection.ts";
import { Locks } from "./locks.ts";
import { LostNotifications } from "./lost_notifications.ts";
import { Names } from "./names.ts";
import { pause } from "./pause.ts";
import { type Announced, isAnnouncement } from "./payload.ts";
import { ALL_NODES, PayloadCodec } from "./payload_codec.ts";
import { PeerNodes } from "./peer_nodes.ts";
import { Servers } from "./redis_connections.ts";
import { spend } from "./spend.ts";
import { Subscriptions } from "./subscriptions.ts";

/** Milliseconds before the first try to connect again, and at most: each wait is twice the one before. */
const RETRY = { first: 50, most: 1_000 } as const;

/**
 * Milliseconds before the next try when Redis was reached but lets this node not in: an operator must do
 * something.
 */
const RETRY_REFUSED = 5_000;

/**
 * Milliseconds after which a connection counts as good: when one that wasn't is lost, the waits go on
 * growing.
 */
const GOOD_AFTER = 5_000;

/** What there is while Redis can be reached. */
interface Connected {
  readonly servers: Servers;
  readonly subscriptions: Subscriptions;
}

/** A node's connection to the others through one Redis, or through a Redis Cluster of version 7 or newer. */
export class RedisBus implements Bus {
  readonly #urls: readonly URL[];
  readonly #log: Pick<Log, "info" | "warn" | "error">;
  readonly #codec: PayloadCodec;
  /** By their names the channels that should be subscribed; the nodes' own have none. */
  readonly #wanted: Map<string, Channel | undefined>;
  readonly #names: Names;
  readonly #peers: PeerNodes;
  readonly #lost: LostNotifications;
  readonly #closing = new AbortController();
  readonly #locks: Locks;
  readonly #refusals = new Seldom(MINUTELY);
  readonly #foreignKeys = new Seldom(MINUTELY);
  #running: Promise<void> = Promise.resolve();
  /**
   * From when there are connections, and from when also all is subscribed: only then others are heard and
   * told.
   */
  #connected: Connected | undefined;
  #ready: Connected | undefined;
  #tries = 0;
  #down: BusUnavailable | undefined;
  /** Redis has refused a hint that a look on its channel does not make up for. */
  #owesHello = false;

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
    this.#urls = urls.map(parse);
    if (urls.length === 0) throw new TypeError("the bus needs the address of a Redis");
    this.#log = log;
    const names = this.#names = new Names(deployment);
    this.#codec = new PayloadCodec(secret, log);
    this.#wanted = new Map([[names.allNodes, undefined], [names.node(this.#codec.id), undefined]]);
    this.#peers = new PeerNodes(names, this.#codec.id);
    this.#lost = new LostNotifications(names.allNodes);
    this.#locks = new Locks(
      (key, send) => this.#send(key, send),
      names,
      this.#closing.signal,
      (key) => this.#foundForeign(key),
    );
  }

  adopt(epoch: string): void {
    this.#codec.adopt(epoch);
  }

  async open(listener: Listener): Promise<void> {
    if (this.#closed) throw closed();
    const opened = Promise.withResolvers<void>();
    this.#running = this.#run(listener, opened.resolve);
    await opened.promise;
  }

  async subscribe(channel: Channel): Promise<void> {
    if (this.#closed) throw closed();
    const name = this.#names.channel(channel);
    this.#wanted.set(name, channel);
    // then the next connection begins with it
    await this.#connected?.subscriptions.change(name).catch(() => {});
  }

  async unsubscribe(channel: Channel): Promise<void> {
    const name = this.#names.channel(channel);
    this.#wanted.delete(name);
    await this.#connected?.subscriptions.change(name).catch(() => {});
  }

  publish(channel: Channel, hint: Hint): void {
    if (!this.#closed) this.#publish(this.#names.channel(channel), channel, hint);
  }

  async online(users: readonly number[]): Promise<ReadonlySet<number>> {
    if (this.#closed) throw closed();
    if (!this.#ready) throw this.#unavailable;
    const counts = await this.#ready.subscriptions.count(users.map((user) => this.#names.channel(user)));
    return new Set(users.filter((user) => counts.get(this.#names.channel(user))! > 0));
  }

  async lock(user: number): Promise<() => Promise<void>> {
    if (this.#closed) throw closed();
    return await this.#locks.take(user);
  }

  async spend(bucket: string, quota: Quota, count: number): Promise<number> {
    if (this.#closed) throw closed();
    const key = this.#names.bucket(bucket);
    const { wait, isForeign } = await spend((key, send) => this.#send(key, send), key, quota, count);
    if (isForeign) this.#foundForeign(key);
    return wait;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#locks.close(closed());
    this.#sayGoodbye();
    await this.#connected?.servers.close();
    await this.#running;
    await this.#locks.settled();
  }

  /**
   * Tells the other nodes that this one commits nothing more. If that is lost, they only poll for some
   * minutes.
   */
  #sayGoodbye(): void {
    const { allNodes } = this.#names;
    this.#ready?.servers.of(allNodes).publish(allNodes, this.#codec.announce("bye")).catch(expected);
  }

  get #closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Connects, again and again. */
  async #run(listener: Listener, opened: () => void): Promise<void> {
    let wait: number = RETRY.first;
    while (!this.#closed) {
      const begun = performance.now();
      const why = await this.#stayConnected(listener, opened);
      opened();
      await pause(0, this.#closing.signal); // who waits for open hears of that first
      if (this.#closed) break;
      this.#tellDown(listener, why);
      if (performance.now() - begun > GOOD_AFTER) wait = RETRY.first;
      await pause(why instanceof Refused ? RETRY_REFUSED : wait, this.#closing.signal);
      wait = Math.min(2 * wait, RETRY.most);
    }
  }

  /** Connects and gives the reason when the connections have ended, or could not be made. */
  async #stayConnected(listener: Listener, opened: () => void): Promise<BusUnavailable> {
    let servers: Servers;
    try {
      servers = await Servers.connect({
        urls: this.#urlsInTurn(),
        receive: (name, payload) => this.#receive(listener, name, payload),
        refused: (error) =>
          this.#refusals.say((count) => this.#log.warn("Redis refuses commands", { error, count })),
        signal: this.#closing.signal,
      });
    } catch (error) {
      return expected(error);
    }
    const subscriptions = new Subscriptions(servers, this.#wanted);
    const { allNodes } = this.#names;
    const over = new AbortController();
    let watching: Promise<void> | undefined;
    let why = closed();
    try {
      if (this.#closed) throw why; // while it was connecting, when there was nothing to close yet
      const connected = this.#connected = { servers, subscriptions };
      await subscriptions.changeAll();
      // A node that subscribes later says hello to this one; one that has subscribed earlier is found.
      this.#peers.addAll(await servers.of(allNodes).channels(this.#names.node("")));
      this.#owesHello = false;
      await servers.of(allNodes).publish(allNodes, this.#codec.announce("hello"));
      this.#ready = connected;
      const count = (names: readonly string[]) => subscriptions.count(names);
      const watch = {
        count,
        beat: () => void this.#beat(servers).catch(expected),
        gone: () => listener.gone(),
        silent: (isSilent: boolean) => listener.silent(isSilent),
      };
      watching = this.#peers.watch(watch, over.signal, this.#down !== undefined)
        .catch((error) => void expected(error));
      opened();
      this.#tellUp(listener);
      why = await servers.lost();
    } catch (error) {
      why = expected(error);
    } finally {
      over.abort();
      this.#connected = undefined;
      this.#ready = undefined;
      await (this.#closed ? servers.close() : servers.abandon(why));
      await watching;
    }
    return why;
  }

  /** Another one first each time, for one that answers may still be wrong about its cluster. */
  #urlsInTurn(): URL[] {
    const first = this.#tries++ % this.#urls.length;
    return [...this.#urls.slice(first), ...this.#urls.slice(0, first)];
  }

  #tellDown(listener: Listener, why: BusUnavailable): void {
    if (why.message !== this.#down?.message || why instanceof Refused) {
      const level = why instanceof Refused ? "error" : "warn";
      this.#log[level]("no connection to the other nodes", { error: why });
    }
    const already = this.#down !== undefined;
    this.#down = why;
    this.#locks.turnAway(why);
    if (!already) listener.down(why);
  }

  #tellUp(listener: Listener): void {
    if (this.#down) {
      this.#down = undefined;
      this.#log.info("connected to the other nodes again");
      listener.up();
    }
    this.#makeUp();
  }

  /**
   * Publishes a heartbeat. When Redis takes that, it may also take what it has refused: looks where messages
   * were lost, and a hello, after which the other nodes look for logins and friends.
   */
  async #beat(servers: Servers): Promise<void> {
    const { allNodes } = this.#names;
    const kind = this.#owesHello ? "hello" : "beat";
    this.#owesHello = false;
    try {
      await servers.of(allNodes).publish(allNodes, this.#codec.announce(kind));
    } catch (error) {
      this.#owesHello ||= kind === "hello";
      throw error;
    }
    if (this.#ready?.servers === servers) this.#makeUp();
  }

  #makeUp(): void {
    for (const name of this.#lost.take()) {
      this.#publish(name, this.#names.channelOf(name), { kind: "look" });
    }
  }

  #publish(name: string, channel: Channel, hint: Hint): void {
    const missed = () => {
      if (hint.kind === "presence" || hint.kind === "takeover") this.#owesHello = true;
      else this.#lost.add(name);
    };
    if (this.#ready) {
      this.#ready.servers.of(name).publish(name, this.#codec.write(channel, hint)).catch(missed);
    } else missed();
  }

  #foundForeign(key: string): void {
    this.#foreignKeys.say((count) =>
      this.#log.warn("replaced a key in Redis that no node has written", { key, count })
    );
  }

  #receive(listener: Listener, name: string, payload: Buffer): void {
    const channel = name === this.#names.allNodes ? ALL_NODES : this.#wanted.get(name);
    if (channel === undefined) return; // it has just been unsubscribed
    const read = this.#codec.read(channel, name, payload);
    if (!read) return;
    const { sender, said } = read;
    if (isAnnouncement(said)) this.#hear(listener, sender, said);
    else if (this.#ready) this.#pass(listener, channel, said);
  }

  #hear(listener: Listener, sender: string, { kind }: Announced): void {
    if (kind === "bye") return this.#peers.leaves(sender);
    this.#peers.add(sender);
    if (this.#ready && kind === "hello") listener.came();
  }

  #pass(listener: Listener, channel: Channel, hint: Hint): void {
    if (channel !== ALL_NODES) listener.receive(channel, hint);
    else {
      for (const each of [...this.#wanted.values()]) if (each !== undefined) listener.receive(each, hint);
    }
  }

  async #send<T>(key: string, send: (redis: Redis) => Promise<T>): Promise<T> {
    if (!this.#ready) throw this.#unavailable;
    return await this.#ready.servers.of(key).call(send);
  }

  get #unavailable(): BusUnavailable {
    return this.#down ?? new BusUnavailable("there is no connection to Redis yet");
  }
}

/** A failure of the connection; anything else is a mistake in the program and goes on. */
function expected(error: unknown): BusUnavailable {
  if (error instanceof BusUnavailable) return error;
  throw error;
}

function closed(): BusUnavailable {
  return new BusUnavailable("the bus is closed");
}

/** Says nothing of the address itself, which may hold a password. */
function parse(address: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url?.hostname && ["redis:", "rediss:"].includes(url.protocol)) return url;
  throw new TypeError(
    "the address of a Redis must be like redis://host:6379 or redis://user:password@host:6379",
  );
}
