/** Users who receive one conversation and say so, as a client does. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import type { Peer } from "./peer.ts";

const DELIVERED_INTERVAL_MS = 100; // milliseconds between two DELIVERED of a recipient: what the client does

/** One who receives. Its owner gives it what its connection gets. */
export class Recipient {
  /** The seqs of what came, in the order in which it came. */
  readonly came: number[] = [];
  readonly #peer: Peer;
  readonly #msgid: number;
  readonly #conversation: Sent;
  readonly #arrived: (message: Received) => void;
  #said = 0; // the seq of the last DELIVERED
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * `msgid` is that of its messages, `conversation` is how DELIVERED names it, and `arrived` is told of each message.
   */
  constructor(peer: Peer, msgid: number, conversation: Sent, arrived: (message: Received) => void) {
    this.#peer = peer;
    this.#msgid = msgid;
    this.#conversation = conversation;
    this.#arrived = arrived;
  }

  /** Notes a message and lets the server know soon. */
  take(message: Received): void {
    if (message.msgid !== this.#msgid) return;
    this.came.push(message.seq!);
    this.#arrived(message);
    this.#timer ??= setTimeout(() => this.sayDelivered(), DELIVERED_INTERVAL_MS);
  }

  /** Says at once what it has, if the server doesn't know. */
  sayDelivered(): void {
    this.stop();
    const seq = this.came.at(-1) ?? 0;
    if (seq === this.#said) return;
    this.#said = seq;
    this.#peer.send({ msgid: Msg.DELIVERED, ...this.#conversation, seq });
  }

  /** Says no more. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
