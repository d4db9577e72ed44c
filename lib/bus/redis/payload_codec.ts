/**
 * Writes a node's payloads, and reads those of the other nodes: what they have not signed, or said before, is
 * none.
 */
import type { Buffer } from "node:buffer";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import type { Channel, Hint } from "../bus.ts";
import { ReplayGuard } from "./counters.ts";
import {
  type AnnouncementKind,
  decode,
  encode,
  headerOf,
  isAnnouncement,
  type Payload,
  randomId,
  senderOf,
} from "./payload.ts";
import { Signer } from "./signer.ts";

/** The number of the channel of all nodes in signatures: users' numbers are above it, and groups' below. */
export const ALL_NODES_CHANNEL = 0;

/** One node's. */
export class PayloadCodec {
  /** The node's id, which no other node has. */
  readonly id = randomId();
  readonly #header = headerOf(this.id);
  readonly #signer: Signer;
  readonly #log: Pick<Log, "warn">;
  /** A newer node may send unknown payloads all the time, and a forger many unsigned ones. */
  readonly #unknownThrottle = new LogThrottle(MINUTE_MS);
  readonly #unsignedThrottle = new LogThrottle(MINUTE_MS);
  readonly #replayGuard = new ReplayGuard();
  #announcements = 0;

  /** `secret`: the key of the deployment, in hexadecimal. */
  constructor(secret: string, log: Pick<Log, "warn">) {
    this.#signer = new Signer(secret);
    this.#log = log;
  }

  /** See `Bus.adopt`. */
  adopt(epoch: string): void {
    this.#signer.adopt(epoch);
  }

  /** The payload of a hint on a channel. */
  write(channel: Channel, hint: Hint): string {
    return this.#sign(channel, hint);
  }

  /** The payload of what the node says of itself to all nodes. */
  announce(kind: AnnouncementKind): string {
    return this.#sign(ALL_NODES_CHANNEL, { kind, count: ++this.#announcements });
  }

  /** What another node says on a channel, which has a name in Redis; undefined if it is to be ignored. */
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
        this.#log.warn("ignored what is no hint, or of an unknown version", { channel: name, count })
      );
      return undefined;
    }
    // What was recorded and is published once more has an old number.
    if (isAnnouncement(payload) && !this.#replayGuard.isNew(sender, payload.count)) return undefined;
    return { sender, payload };
  }

  #sign(channel: Channel, payload: Payload): string {
    return this.#signer.sign(channel, this.#header, encode(payload));
  }
}
