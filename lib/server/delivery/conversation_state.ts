/** The state of the conversations of a session, within a bound. */
import { BoundedMap } from "../../bounded_map.ts";
import type { Peer } from "../../store/store.ts";

/** A session's progress in one conversation. */
export interface ConversationState {
  readonly peer: Peer;
  /**
   * All messages up to this seq have been pushed, or are the user's own. While it is undefined, the store's
   * cursor counts.
   */
  lastPushedSeq: number | undefined;
  /** The highest seq that this session knows of. */
  lastKnownSeq: number;
  /** The cursor, or undefined until the session has read it from the store. */
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
