/** What a session remembers of its conversations, within a bound. */
import type { Peer } from "../../store/store.ts";

/** How far a session is in one conversation. */
export interface ConversationState {
  readonly peer: Peer;
  /**
   * Everything up to this seq has been pushed, or was the user's own. Undefined: the store's cursor tells.
   */
  lastPushedSeq: number | undefined;
  /** The highest seq that is known to exist. */
  lastKnownSeq: number;
  /** The cursor, as far as this session knows it; undefined before it does. */
  cursor: number | undefined;
}

/** The conversations of one session. */
export class ConversationStates {
  readonly #maxStates: number;
  #states: Map<Peer, ConversationState> | undefined; // made with the first: thousands of sessions have none

  /** `limit` is how many are remembered. */
  constructor(maxStates: number) {
    this.#maxStates = maxStates;
  }

  get(peer: Peer): ConversationState | undefined {
    return this.#states?.get(peer);
  }

  /** Adds one. If there are as many as may be, the oldest is forgotten in its place, and given back. */
  add(state: ConversationState): ConversationState | undefined {
    const states = this.#states ??= new Map();
    let evicted: ConversationState | undefined;
    if (states.size >= this.#maxStates) {
      [evicted] = states.values();
      states.delete(evicted!.peer);
    }
    states.set(state.peer, state);
    return evicted;
  }
}
