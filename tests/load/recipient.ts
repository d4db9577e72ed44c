/** Recipients, which acknowledge all messages of one read of the socket with one DELIVERED. */
import { Msg, type Received, type Sent } from "../harness/protocol_numbers.ts";
import type { Peer } from "./peer.ts";

/** A recipient of one conversation. Its owner passes it the messages of its connection. */
export class Recipient {
  /** The received seqs, in the order of arrival. */
  readonly came: number[] = [];
  readonly #peer: Pick<Peer, "send" | "onRead">;
  readonly #msgid: number;
  readonly #conversation: Sent;
  readonly #arrived: (message: Received) => void;
  #said = 0; // the seq of the last DELIVERED

  /**
   * Makes a recipient. `msgid` is the kind of its messages, `conversation` has the fields that name it in
   * DELIVERED, and `arrived` is called for each message.
   */
  constructor(
    peer: Pick<Peer, "send" | "onRead">,
    msgid: number,
    conversation: Sent,
    arrived: (message: Received) => void,
  ) {
    this.#peer = peer;
    this.#msgid = msgid;
    this.#conversation = conversation;
    this.#arrived = arrived;
    peer.onRead = () => this.#sayDelivered();
  }

  /** Records a message. */
  take(message: Received): void {
    if (message.msgid !== this.#msgid) return;
    this.came.push(message.seq!);
    this.#arrived(message);
  }

  #sayDelivered(): void {
    const seq = this.came.at(-1) ?? 0;
    if (seq === this.#said) return;
    this.#said = seq;
    this.#peer.send({ msgid: Msg.DELIVERED, ...this.#conversation, seq });
  }
}
