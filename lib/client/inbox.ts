/** How far the user has each conversation, and the telling of the server. */
import { Msg } from "../wire/protocol.ts";
import type { Chat, Peer } from "./incoming.ts";
import type { Request } from "./transport.ts";

const GATHER = 100; // milliseconds: a burst of messages is confirmed with one DELIVERED, and a person notices none

/** Hides repeats and says DELIVERED. What the server isn't told, for a broken connection, it sends again. */
export class Inbox {
  readonly #send: (request: Request) => Promise<void>;
  readonly #shown = new Map<Peer, number>(); // the last seq of each conversation
  readonly #due = new Set<Peer>();
  #epoch: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `send` resolves when the message is on its way; nothing more is sent until then. */
  constructor(send: (request: Request) => Promise<void>) {
    this.#send = send;
  }

  /** A login's answer has named the store's epoch: in another one than before, seqs are given out anew. */
  enter(epoch: string | undefined): void {
    if (this.#epoch !== undefined && epoch !== this.#epoch) {
      this.#shown.clear();
      this.#due.clear();
    }
    this.#epoch = epoch;
  }

  /** Whether the user has seen it. The server is told again, since it seems not to know. */
  isRepeat({ peer, seq }: Chat): boolean {
    if (seq > (this.#shown.get(peer) ?? 0)) return false;
    this.#tell(peer);
    return true;
  }

  /** The user has seen it, and everything before it. */
  shown({ peer, seq }: Chat): void {
    this.#shown.set(peer, seq);
    this.#tell(peer);
  }

  /** Tells the server now. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    for (const peer of this.#due) {
      this.#due.delete(peer);
      const whose = peer > 0 ? { id: peer } : { groupid: -peer };
      await this.#send({ msgid: Msg.DELIVERED, ...whose, seq: this.#shown.get(peer) });
    }
    this.#timer = undefined;
    if (this.#due.size > 0) this.#schedule();
  }

  /** Stops without telling. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#due.clear();
  }

  #tell(peer: Peer): void {
    this.#due.add(peer);
    if (this.#timer === undefined) this.#schedule();
  }

  #schedule(): void {
    this.#timer = setTimeout(() => void this.flush(), GATHER);
  }
}
