/**
 * The port to the other nodes: presence and hints, nothing that may be lost for good. What it drops costs a
 * later look into the store, never a message. Every implementation passes the suite in tests/bus_contract.ts.
 */
import type { Peer, StoredMessage } from "../store/store.ts";

/** Where hints are published: a user's channel is the positive id, a group's is minus the id. */
export type Channel = Peer;

/** What one node tells the others. */
export type Hint =
  /** A message was committed. In a pair's it stands on the recipient's channel; `sender` says whose it is. */
  | { readonly kind: "message"; readonly message: StoredMessage }
  /** Somebody whom the channel's user has as a friend came or went. */
  | { readonly kind: "presence"; readonly user: number; readonly online: boolean }
  /** The channel's user has logged in elsewhere with `force` or the session's token: let go of the account. */
  | { readonly kind: "takeover" };

/** A node's connection to the bus. */
export interface Bus {
  /** Says what to do with hints from other nodes on subscribed channels. Called once, before anything else. */
  open(receive: (channel: Channel, hint: Hint) => void): Promise<void>;
  /**
   * From when it resolves, hints on the channel are received. A node's subscription of a user's channel is what
   * makes that user online.
   */
  subscribe(channel: Channel): Promise<void>;
  /** Never rejects, and stays in order with what {@link Bus.subscribe} is asked for the same channel. */
  unsubscribe(channel: Channel): Promise<void>;
  /** Sends a hint to the other nodes that are subscribed, never to this one. Those of one node stay in order. */
  publish(channel: Channel, hint: Hint): void;
  /** Which of these users any node is subscribed to, this one included. */
  online(users: readonly number[]): Promise<ReadonlySet<number>>;
  /**
   * Takes the lock on an account's login, so that one node at a time looks and subscribes. The holder calls
   * what it resolves to, to give it back; that never rejects.
   */
  lock(user: number): Promise<() => Promise<void>>;
  /** Lets go of all subscriptions and locks. */
  close(): Promise<void>;
}
