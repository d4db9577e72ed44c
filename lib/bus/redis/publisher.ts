/** Publishes hints and announcements of a node, and replaces those that Redis did not accept. */
import type { Channel, Hint } from "../bus.ts";
import { BusUnavailableError } from "../bus.ts";
import { LostNotifications } from "./lost_notifications.ts";
import type { Names } from "./names.ts";
import type { PayloadCodec } from "./payload_codec.ts";
import type { RedisConnections } from "./redis_connections.ts";

/** The outgoing half of a node's bus. */
export class Publisher {
  readonly #names: Names;
  readonly #codec: PayloadCodec;
  readonly #lostNotifications: LostNotifications;
  #connections: RedisConnections | undefined;
  /** Whether a lost hint needs a hello: a `resync` on its channel does not replace it. */
  #needsHello = false;

  constructor(names: Names, codec: PayloadCodec) {
    this.#names = names;
    this.#codec = codec;
    this.#lostNotifications = new LostNotifications(names.allNodes);
  }

  /**
   * Announces the node on new connections, and publishes on them from then on. Rejects with
   * BusUnavailableError.
   */
  async attach(connections: RedisConnections): Promise<void> {
    this.#needsHello = false;
    await this.#announce(connections, "hello");
    this.#connections = connections;
  }

  /** Stops publishing: every later hint counts as lost. */
  detach(): void {
    this.#connections = undefined;
  }

  /** Publishes a hint. If Redis does not accept it, a later `resync` or hello replaces it. */
  publish(channel: Channel, hint: Hint): void {
    this.#publish(this.#names.channel(channel), channel, hint);
  }

  /**
   * Tells the other nodes that this node commits no more messages. If that is lost, they poll for some
   * minutes.
   */
  publishBye(): void {
    if (this.#connections) this.#announce(this.#connections, "bye").catch(ignoreUnavailable);
  }

  /**
   * Publishes a heartbeat. If Redis accepts it, publishes replacements of lost hints. These are a `resync`
   * per channel with a lost message, and a hello, after which the other nodes check logins and friends.
   */
  async sendHeartbeat(connections: RedisConnections): Promise<void> {
    const kind = this.#needsHello ? "hello" : "beat";
    this.#needsHello = false;
    try {
      await this.#announce(connections, kind);
    } catch (error) {
      this.#needsHello ||= kind === "hello";
      return ignoreUnavailable(error);
    }
    if (this.#connections === connections) this.requestResyncs();
  }

  /** Publishes a `resync` on every channel that lost a hint. */
  requestResyncs(): void {
    for (const name of this.#lostNotifications.drain()) {
      this.#publish(name, this.#names.channelOf(name), { kind: "resync" });
    }
  }

  #publish(name: string, channel: Channel, hint: Hint): void {
    const onLost = () => {
      if (hint.kind === "presence" || hint.kind === "takeover") this.#needsHello = true;
      else this.#lostNotifications.add(name);
    };
    if (this.#connections) {
      this.#connections.get(name).publish(name, this.#codec.write(channel, hint)).catch(onLost);
    } else onLost();
  }

  async #announce(connections: RedisConnections, kind: "hello" | "beat" | "bye"): Promise<void> {
    const { allNodes } = this.#names;
    await connections.get(allNodes).publish(allNodes, this.#codec.announce(kind));
  }
}

/** Ignores a failure of the connection. Throws every other error, which is a programming error. */
function ignoreUnavailable(error: unknown): void {
  if (!(error instanceof BusUnavailableError)) throw error;
}
