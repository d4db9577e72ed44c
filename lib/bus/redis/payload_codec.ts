/**
 * Encodes the payloads of a node, and decodes the payloads of the other nodes. It rejects payloads without a
 * valid signature, and repeated announcements.
 */
import type { Buffer } from "node:buffer";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import type { Channel, Hint } from "../bus.ts";
import { newId } from "../../new_id.ts";
import { ReplayGuard } from "./replay_guard.ts";
import {
  type AnnouncementKind,
  decode,
  encode,
  headerOf,
  isAnnouncement,
  type Payload,
  senderOf,
} from "./payload.ts";
import { Signer } from "./signer.ts";

/**
 * The number of the channel of all nodes in signatures. Users have positive numbers, and groups negative
 * ones.
 */
export const ALL_NODES_CHANNEL = 0;

/** The codec of one node. */
export class PayloadCodec {
  /** The node's id, which no other node has. */
  readonly id = newId();
  readonly #header = headerOf(this.id);
  readonly #signer: Signer;
  readonly #log: Pick<Log, "warn">;
  /**
   * Logs at most one line a minute: a newer node may send unknown payloads all the time, and an attacker many
   * unsigned ones.
   */
  readonly #unknownThrottle = new LogThrottle(MINUTE_MS);
  readonly #unsignedThrottle = new LogThrottle(MINUTE_MS);
  readonly #replayGuard = new ReplayGuard();
  #announcements = 0;

  /** `secret` is the key of the deployment, in hexadecimal. */
  constructor(secret: string, log: Pick<Log, "warn">) {
    this.#signer = new Signer(secret);
    this.#log = log;
  }

  /** Sets the epoch of the store, as `Bus.adopt` does. */
  adopt(epoch: string): void {
    this.#signer.adopt(epoch);
  }

  /** Returns the payload of a hint on a channel. */
  write(channel: Channel, hint: Hint): string {
    return this.#sign(channel, hint);
  }

  /** Returns the payload of an announcement, with the node's next count. */
  announce(kind: AnnouncementKind): string {
    return this.#sign(ALL_NODES_CHANNEL, { kind, count: ++this.#announcements });
  }

  /**
   * Decodes a payload on a channel, whose name in Redis is `name`. Returns undefined for a payload to be
   * ignored.
   */
  read(channel: Channel, name: string, bytes: Buffer): { sender: string; payload: Payload } | undefined {
    const text = bytes.toString();
    const sender = senderOf(text);
    if (sender === this.id) return undefined;
    if (!this.#signer.verify(channel, bytes)) {
      this.#unsignedThrottle.log((count) =>
        this.#log.warn("ignored messages without this deployment's signature", { channel: name, count })
      );
      return undefined;
    }
    const payload = decode(text);
    if (!payload) {
      this.#unknownThrottle.log((count) =>
        this.#log.warn("ignored messages of an unknown kind or version", { channel: name, count })
      );
      return undefined;
    }
    // An announcement that was recorded and published again has an old count.
    if (isAnnouncement(payload) && !this.#replayGuard.isNew(sender, payload.count)) return undefined;
    return { sender, payload };
  }

  #sign(channel: Channel, payload: Payload): string {
    return this.#signer.sign(channel, this.#header, encode(payload));
  }
}
