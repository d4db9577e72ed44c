/** Recipients, which acknowledge messages as the client does. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import type { Peer } from "./peer.ts";

const DELIVERED_INTERVAL_MS = 100; // milliseconds between two DELIVERED of a recipient, as in the client

/** A recipient of one conversation. Its owner passes it the messages of its connection. */
export class Recipient {
  /** The received seqs, in the order of arrival. */
  readonly came: number[] = [];
  readonly #peer: Peer;
  readonly #msgid: number;
  readonly #conversation: Sent;
  readonly #arrived: (message: Received) => void;
  #said = 0; // the seq of the last DELIVERED
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * Makes a recipient. `msgid` is the kind of its messages, `conversation` has the fields that name it in DELIVERED, and
   * `arrived` is called for each message.
   */
  constructor(peer: Peer, msgid: number, conversation: Sent, arrived: (message: Received) => void) {
    this.#peer = peer;
    this.#msgid = msgid;
    this.#conversation = conversation;
    this.#arrived = arrived;
  }

  /** Records a message and schedules its DELIVERED. */
  take(message: Received): void {
    if (message.msgid !== this.#msgid) return;
    this.came.push(message.seq!);
    this.#arrived(message);
    this.#timer ??= setTimeout(() => this.sayDelivered(), DELIVERED_INTERVAL_MS);
  }

  /** Sends the pending DELIVERED, if there is one. */
  sayDelivered(): void {
    this.stop();
    const seq = this.came.at(-1) ?? 0;
    if (seq === this.#said) return;
    this.#said = seq;
    this.#peer.send({ msgid: Msg.DELIVERED, ...this.#conversation, seq });
  }

  /** Cancels the pending DELIVERED. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
