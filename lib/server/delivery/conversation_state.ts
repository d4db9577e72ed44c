/** What a session remembers of its conversations, within a bound. */
import { BoundedMap } from "../../bounded_map.ts";
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
  /** Created with the first state: most idle sessions have none. */
  #states: BoundedMap<Peer, ConversationState> | undefined;

  /** `maxStates` is the most conversations whose state is cached. */
  constructor(maxStates: number) {
    this.#maxStates = maxStates;
  }

  get(peer: Peer): ConversationState | undefined {
    return this.#states?.get(peer);
  }

  /**
   * Adds the state of a conversation that has none. Returns the oldest state if it was evicted for this one.
   */
  add(state: ConversationState): ConversationState | undefined {
    this.#states ??= new BoundedMap(this.#maxStates);
    return this.#states.set(state.peer, state);
  }
}
