/** The last message shown of each conversation, and its confirmation to the server. */
import { Msg } from "../wire/protocol.ts";
import type { ChatMessage, Peer } from "./incoming.ts";
import type { RequestMessage } from "./transport.ts";

// One DELIVERED confirms a burst of messages, and no user notices the delay.
const DELIVERED_DELAY_MS = 100;

/** Detects duplicates and sends DELIVERED. The server resends messages that it has no confirmation of. */
export class Inbox {
  readonly #send: (request: RequestMessage) => Promise<void>;
  readonly #lastShown = new Map<Peer, number>(); // the last seq of each conversation
  readonly #unconfirmed = new Set<Peer>();
  #epoch: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` resolves when the message is sent. The inbox sends one message at a time. */
  constructor(send: (request: RequestMessage) => Promise<void>) {
    this.#send = send;
  }

  /**
   * Sets the store's epoch, from the reply to a login. In a new epoch the seqs of all conversations start
   * again.
   */
  setEpoch(epoch: string | undefined): void {
    if (this.#epoch !== undefined && epoch !== this.#epoch) {
      this.#lastShown.clear();
      this.#unconfirmed.clear();
    }
    this.#epoch = epoch;
  }

  /** Returns whether the user has seen the message, and confirms a duplicate again. */
  isDuplicate({ peer, seq }: ChatMessage): boolean {
    if (seq > (this.#lastShown.get(peer) ?? 0)) return false;
    this.#confirm(peer);
    return true;
  }

  /** Records that the user has seen the message and all messages before it. */
  markShown({ peer, seq }: ChatMessage): void {
    this.#lastShown.set(peer, seq);
    this.#confirm(peer);
  }

  /** Sends all confirmations now. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    for (const peer of this.#unconfirmed) {
      this.#unconfirmed.delete(peer);
      const conversation = peer > 0 ? { id: peer } : { groupid: -peer };
      await this.#send({ msgid: Msg.DELIVERED, ...conversation, seq: this.#lastShown.get(peer) });
    }
    this.#timer = undefined;
    if (this.#unconfirmed.size > 0) this.#schedule();
  }

  /** Drops all confirmations. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#unconfirmed.clear();
  }

  #confirm(peer: Peer): void {
    this.#unconfirmed.add(peer);
    if (this.#timer === undefined) this.#schedule();
  }

  #schedule(): void {
    this.#timer = setTimeout(() => void this.flush(), DELIVERED_DELAY_MS);
  }
}
