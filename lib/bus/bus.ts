/**
 * The port to the other nodes: presence and hints, nothing that may be lost for good. What it drops costs a
 * later look into the store, never a message. Every implementation passes the suite in tests/cluster/bus_contract.ts.
 */
import type { Peer, StoredMessage } from "../store/store.ts";

/** Where hints are published: a user's channel is the positive id, a group's is minus the id. */
export type Channel = Peer;

/** What one node tells the others. */
export type Hint =
  /** A message was committed. In a pair's it stands on the recipient's channel; `sender` says whose it is. */
  | { readonly kind: "message"; readonly message: StoredMessage }
  /** There may be messages that a hint was lost of: those whom the channel concerns should look. */
  | { readonly kind: "look" }
  /** A friend of the channel's user came or went: ask {@link Bus.online} which. */
  | { readonly kind: "presence"; readonly user: number }
  /** The channel's user has become a member of this group, by a session that isn't its last one any more. */
  | { readonly kind: "joined"; readonly group: number }
  /** The channel's user has begun this login: let go of any earlier one. */
  | { readonly kind: "takeover"; readonly loginEpoch: number };

/**
 * What a node is told by its connection to the bus. None of it is called before {@link Bus.open} has
 * resolved.
 */
export interface BusListener {
  /** A hint from another node, on a channel that is subscribed. */
  onHint(channel: Channel, hint: Hint): void;
  /**
   * The bus can't be reached: no hints come until `up`. Told once per outage, also when it begins before the
   * bus was ever reached.
   */
  onBusDown(error: Error): void;
  /**
   * After `down`: hints come again, and everything is subscribed as before; what was said meanwhile is lost.
   */
  onBusUp(): void;
  /** A node has come, or come back: what it could not tell before is to be seen from now on. */
  onNodeJoined(): void;
  /**
   * A node has left, by closing or by a crash: its users may be gone without a word, and hints of its
   * messages lost.
   */
  onNodeLeft(): void;
  /**
   * Whether some node that is not known to have ended has not been heard for seconds, or has left without
   * closing. Such a node may go on committing messages, and its hints may be lost. Told at each change. A
   * node that has left and is not back in a few minutes counts as ended.
   */
  onSilenceChange(isSilent: boolean): void;
}

/**
 * A bucket from which something may be done: it holds at most `size`, and an empty one is full after `within`
 * ms.
 */
export interface RateLimit {
  readonly burst: number;
  readonly periodMs: number;
}

/** The bus can't be reached now. */
export class BusUnavailableError extends Error {
  override readonly name = "BusUnavailableError";
}

/** Returns the error of a lock that is not granted because too many requests wait for locks. */
export function lockOverloadError(waiters: number): BusUnavailableError {
  return new BusUnavailableError(`Cannot lock a user: ${waiters} requests wait for locks`);
}

/** A node's connection to the bus. */
export interface Bus {
  /**
   * Hints are of this epoch of the store from now on, and those of another one are not received: their
   * numbers mean other messages and logins. Called before {@link Bus.open}, and whenever the epoch has
   * changed.
   */
  adopt(epoch: string): void;
  /**
   * Called once, before anything else. Resolves also when the bus can't be reached, after which `down` is
   * told.
   */
  open(listener: BusListener): Promise<void>;
  /**
   * From when it resolves, hints on the channel are received; while the bus is down, they are from `up` on. A
   * node's subscription of a user's channel is what makes that user online.
   */
  subscribe(channel: Channel): Promise<void>;
  /** Never rejects, and stays in order with what {@link Bus.subscribe} is asked for the same channel. */
  unsubscribe(channel: Channel): Promise<void>;
  /**
   * Sends a hint to the other nodes that are subscribed, never to this one. Those of one node on one channel
   * stay in order. Where a message's hint can't be sent now, a `look` on its channel makes up for it later;
   * for other hints, `came` does.
   */
  publish(channel: Channel, hint: Hint): void;
  /**
   * Which of these users any node is subscribed to, this one included, as it is when asked; what this node
   * has asked for before is taken into account. Rejects with {@link BusUnavailableError}.
   */
  online(users: readonly number[]): Promise<ReadonlySet<number>>;
  /**
   * Takes the lock on an account's login, so that one node at a time looks and subscribes. The holder calls
   * what it resolves to, to give it back; that never rejects. Rejects with {@link BusUnavailableError}. A holder
   * that keeps it for longer than a few seconds may lose it: the number of a login decides then.
   */
  lock(user: number): Promise<() => Promise<void>>;
  /**
   * Takes `count` from the bucket of this name, which all nodes share, and resolves to 0; or, if it holds
   * less, takes nothing and resolves to the milliseconds until it will hold as much. A negative count is
   * given back. Rejects with {@link BusUnavailableError}. Buckets may be lost, and are full then. A `count` over
   * the quota's size is never there.
   */
  tryConsume(bucket: string, limit: RateLimit, count: number): Promise<number>;
  /** Lets go of all subscriptions and locks. */
  close(): Promise<void>;
}
