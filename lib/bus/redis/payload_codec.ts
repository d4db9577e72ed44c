/**
 * Writes a node's payloads, and reads those of the other nodes: what they have not signed, or said before, is
 * none.
 */
import type { Buffer } from "node:buffer";
import { type Log, MINUTELY, Seldom } from "../../log.ts";
import type { Channel, Hint } from "../bus.ts";
import { Counters } from "./counters.ts";
import {
  type Announcement,
  decode,
  encode,
  headingOf,
  isAnnouncement,
  randomId,
  type Said,
  senderOf,
} from "./payload.ts";
import { Signer } from "./signer.ts";

/** The number of the channel of all nodes in signatures: users' numbers are above it, and groups' below. */
export const ALL_NODES = 0;

/** One node's. */
export class PayloadCodec {
  /** The node's id, which no other node has. */
  readonly id = randomId();
  readonly #heading = headingOf(this.id);
  readonly #signer: Signer;
  readonly #log: Pick<Log, "warn">;
  /** A newer node may send unknown payloads all the time, and a forger many unsigned ones. */
  readonly #strange = new Seldom(MINUTELY);
  readonly #unsigned = new Seldom(MINUTELY);
  readonly #counters = new Counters();
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
  announce(kind: Announcement): string {
    return this.#sign(ALL_NODES, { kind, count: ++this.#announcements });
  }

  /** What another node says on a channel, which has a name in Redis; undefined if it is to be ignored. */
  read(channel: Channel, name: string, payload: Buffer): { sender: string; said: Said } | undefined {
    const text = payload.toString();
    const sender = senderOf(text);
    if (sender === this.id) return undefined;
    if (!this.#signer.verify(channel, payload)) {
      this.#unsigned.say((count) =>
        this.#log.warn("ignored messages without this deployment's signature", { channel: name, count })
      );
      return undefined;
    }
    const said = decode(text);
    if (!said) {
      this.#strange.say((count) =>
        this.#log.warn("ignored what is no hint, or of an unknown version", { channel: name, count })
      );
      return undefined;
    }
    // What was recorded and is published once more has an old number.
    if (isAnnouncement(said) && !this.#counters.isNew(sender, said.count)) return undefined;
    return { sender, said };
  }

  #sign(channel: Channel, said: Said): string {
    return this.#signer.sign(channel, this.#heading, encode(said));
  }
}
