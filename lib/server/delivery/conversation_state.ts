/** What a session remembers of its conversations, within a bound. */
import type { Peer } from "../../store/store.ts";

/** How far a session is in one conversation. */
export interface Talk {
  readonly peer: Peer;
  /**
   * Everything up to this seq has been pushed, or was the user's own. Undefined: the store's cursor tells.
   */
  pushed: number | undefined;
  /** The highest seq that is known to exist. */
  known: number;
  /** The cursor, as far as this session knows it; undefined before it does. */
  cursor: number | undefined;
}

/** The conversations of one session. */
export class Talks {
  readonly #limit: number;
  #talks: Map<Peer, Talk> | undefined; // made with the first: thousands of sessions have none

  /** `limit` is how many are remembered. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get(peer: Peer): Talk | undefined {
    return this.#talks?.get(peer);
  }

  /** Adds one. If there are as many as may be, the oldest is forgotten in its place, and given back. */
  add(talk: Talk): Talk | undefined {
    const talks = this.#talks ??= new Map();
    let oldest: Talk | undefined;
    if (talks.size >= this.#limit) {
      [oldest] = talks.values();
      talks.delete(oldest!.peer);
    }
    talks.set(talk.peer, talk);
    return oldest;
  }
}
