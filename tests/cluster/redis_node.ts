/** Connections of nodes to a Redis under test, and ways to break them. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Bus, BusUnavailableError } from "../../lib/bus/bus.ts";
import { RedisBus } from "../../lib/bus/redis/redis_bus.ts";
import { Log } from "../../lib/log.ts";
import { EventRecorder, message } from "./bus_fixture.ts";
import { Relay } from "../harness/relay.ts";
import { type Redis, SECRET } from "../harness/redis.ts";

const quiet = new Log("error", "text", () => {});

/** A node under test, which must be disposed of. */
export class Node implements AsyncDisposable {
  readonly events = new EventRecorder();
  readonly bus: Bus;

  constructor(urls: readonly string[], log = quiet) {
    this.bus = new RedisBus(urls, log, "d", SECRET);
  }

  static async open(urls: readonly string[], log?: Log): Promise<Node> {
    const node = new Node(urls, log);
    await node.bus.open(node.events);
    return node;
  }

  /** Waits until the bus is down. Only for long outages: after a short one the bus may be up again. */
  async isDown(): Promise<void> {
    const { events } = this;
    await events.until(() => events.downErrors.length > events.upCount, () => "the bus is not down");
  }

  /** Waits for the end of the first outage, however short. */
  async isUpAgain(): Promise<void> {
    const { events } = this;
    await events.until(() => events.upCount > 0, () => "the bus was not down, or is not up again");
  }

  async isUp(): Promise<void> {
    const { events } = this;
    await events.until(() => events.downErrors.length === events.upCount, () => "the bus is not up");
  }

  /** Asserts that exactly one outage has begun and ended. */
  wasDownOnce(): void {
    assertEquals([this.events.downErrors.length, this.events.upCount], [1, 1]);
    assert(this.events.downErrors[0] instanceof BusUnavailableError);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bus.close();
  }
}

/** Asserts that hints and locks work between two nodes. `b` must not have subscribed the channel. */
export async function worksBetween({ bus: a }: Node, { bus: b, events }: Node, channel = 77): Promise<void> {
  await b.subscribe(channel);
  a.publish(channel, message(7));
  await events.until(() => events.hints.some(([on]) => on === channel), () => "no hint arrived");
  await b.unsubscribe(channel);
  const release = await a.lock(channel);
  await release();
  await (await b.lock(channel))();
}

/** Asserts that calls that need Redis are rejected. */
export async function refuses({ bus }: Node): Promise<void> {
  await assertRejects(() => bus.online([1]), BusUnavailableError);
  await assertRejects(() => bus.lock(1), BusUnavailableError);
  await assertRejects(() => bus.tryConsume("test", { burst: 1, periodMs: 1_000 }, 1), BusUnavailableError);
}

/** A path to Redis that can be cut for any time. */
export class RedisLink implements AsyncDisposable {
  readonly #relay: Relay;

  constructor(redis: Redis) {
    this.#relay = new Relay({ host: "127.0.0.1", port: redis.port });
  }

  get url(): string {
    return `redis://127.0.0.1:${this.#relay.port}`;
  }

  /** Ends the connection at the node's next request, and every later connection likewise. */
  cut(): void {
    this.#relay.decide = () => "cut";
  }

  restore(): void {
    this.#relay.decide = () => "pass";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#relay[Symbol.asyncDispose]();
  }
}

/** Breaks the connections of one node, or of all. They may be restored before this resolves. */
export async function cut(redis: Redis, id?: string): Promise<void> {
  const which = id === undefined ? ["TYPE", "pubsub"] : ["ID", id];
  assert(Number(await redis.command("CLIENT", "KILL", ...which)) > 0);
}

/** Returns the id of the only node's connection. */
export async function connectionOf(redis: Redis): Promise<string> {
  return /^id=(\d+) /.exec(await redis.command("CLIENT", "LIST", "TYPE", "pubsub"))![1]!;
}
