/** How far the user has each conversation, and the telling of the server. */
import { Msg } from "../wire/protocol.ts";
import type { ChatMessage, Peer } from "./incoming.ts";
import type { RequestMessage } from "./transport.ts";

const DELIVERED_DELAY_MS = 100; // milliseconds: a burst of messages is confirmed with one DELIVERED, and a person notices none

/** Hides repeats and says DELIVERED. What the server isn't told, for a broken connection, it sends again. */
export class Inbox {
  readonly #send: (request: RequestMessage) => Promise<void>;
  readonly #lastShown = new Map<Peer, number>(); // the last seq of each conversation
  readonly #unconfirmed = new Set<Peer>();
  #epoch: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` resolves when the message is on its way; nothing more is sent until then. */
  constructor(send: (request: RequestMessage) => Promise<void>) {
    this.#send = send;
  }

  /** A login's answer has named the store's epoch: in another one than before, seqs are given out anew. */
  setEpoch(epoch: string | undefined): void {
    if (this.#epoch !== undefined && epoch !== this.#epoch) {
      this.#lastShown.clear();
      this.#unconfirmed.clear();
    }
    this.#epoch = epoch;
  }

  /** Whether the user has seen it. The server is told again, since it seems not to know. */
  isDuplicate({ peer, seq }: ChatMessage): boolean {
    if (seq > (this.#lastShown.get(peer) ?? 0)) return false;
    this.#confirm(peer);
    return true;
  }

  /** The user has seen it, and everything before it. */
  markShown({ peer, seq }: ChatMessage): void {
    this.#lastShown.set(peer, seq);
    this.#confirm(peer);
  }

  /** Tells the server now. */
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

  /** Stops without telling. */
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
