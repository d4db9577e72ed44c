/**
 * The interface to the other nodes: hints, presence, locks and shared rate limits. The loss of a hint delays
 * a message until the next check of the store; the message is not lost. Every implementation passes the suite
 * in tests/cluster/bus_contract.ts.
 */
import type { Peer, StoredMessage } from "../store/store.ts";

/** The target of a hint: the id of a user, or minus the id of a group. */
export type Channel = Peer;

/** A notification from one node to the others, on one channel. */
export type Hint =
  /**
   * A message was committed. In a conversation of two users it is on the recipient's channel, and `sender`
   * names the other user.
   */
  | { readonly kind: "message"; readonly message: StoredMessage }
  /** Hints of messages may have been lost: sessions of this channel must check the store. */
  | { readonly kind: "resync" }
  /** A friend of the channel's user logged in or out. {@link Bus.online} tells the current state. */
  | { readonly kind: "presence"; readonly user: number }
  /**
   * The channel's user has become a member of this group, and the session that joined has ended meanwhile.
   * The user's session on another node must subscribe the group.
   */
  | { readonly kind: "joined"; readonly group: number }
  /** The channel's user has started this login: a node must end the sessions of earlier logins. */
  | { readonly kind: "takeover"; readonly loginEpoch: number };

/** The events of a node's connection to the bus. The bus emits none before {@link Bus.open} resolves. */
export interface BusListener {
  /** Receives a hint of another node on a subscribed channel. */
  onHint(channel: Channel, hint: Hint): void;
  /**
   * The bus is unavailable: no hints arrive until `onBusUp`. Called once per outage, also if the first
   * connection fails.
   */
  onBusDown(error: Error): void;
  /**
   * The bus is available again, and all channels are subscribed as before. Hints sent during the outage are
   * lost.
   */
  onBusUp(): void;
  /** A node has joined or rejoined: hints that it could not publish before are lost. */
  onNodeJoined(): void;
  /**
   * A node has left, by closing or by a crash. Its users may be offline without a hint, and hints of its
   * messages may be lost.
   */
  onNodeLeft(): void;
  /**
   * Called when the set of silent nodes becomes empty or stops being empty. A node is silent if its
   * heartbeats have not arrived for seconds, or if it left without a goodbye. A silent node may commit
   * messages without hints. A node that left and does not rejoin within minutes counts as ended.
   */
  onSilenceChange(isSilent: boolean): void;
}

/**
 * A token bucket: it holds at most `burst` tokens, and an empty one is full after `periodMs` milliseconds.
 */
export interface RateLimit {
  readonly burst: number;
  readonly periodMs: number;
}

/** The bus is unavailable at present. */
export class BusUnavailableError extends Error {
  override readonly name = "BusUnavailableError";
}

/** Returns the error of all calls after {@link Bus.close}. */
export function closedError(): BusUnavailableError {
  return new BusUnavailableError("the bus is closed");
}

/** Returns the error of a lock that is not granted because too many requests wait for locks. */
export function lockOverloadError(waiters: number): BusUnavailableError {
  return new BusUnavailableError(`Cannot lock a user: ${waiters} requests wait for locks`);
}

/** A node's connection to the bus. */
export interface Bus {
  /**
   * Sets the epoch of the store. Hints carry the current epoch, and the bus ignores hints of another one:
   * their seqs and login epochs belong to another history. Called before {@link Bus.open} and after each
   * change of the epoch.
   */
  adopt(epoch: string): void;
  /**
   * Connects. Called once, before any other method but `adopt`. Also resolves if the bus is unavailable; the
   * bus then calls `onBusDown`.
   */
  open(listener: BusListener): Promise<void>;
  /**
   * Subscribes a channel. When the promise resolves, the node receives hints on the channel. During an outage
   * it resolves too, and hints arrive from `onBusUp` on. A node's subscription of a user's channel makes that
   * user online.
   */
  subscribe(channel: Channel): Promise<void>;
  /** Unsubscribes a channel, after all earlier calls for the same channel. Never rejects. */
  unsubscribe(channel: Channel): Promise<void>;
  /**
   * Sends a hint to the other nodes that subscribe the channel. The hints of one node on one channel stay in
   * order. If a hint cannot be sent now, a later `resync` or `onNodeJoined` replaces it.
   */
  publish(channel: Channel, hint: Hint): void;
  /**
   * Returns which of these users are online on any node, this one included. The result reflects all earlier
   * calls of this node. Rejects with {@link BusUnavailableError}.
   */
  online(users: readonly number[]): Promise<ReadonlySet<number>>;
  /**
   * Acquires the lock on an account's login. So one login at a time checks for another session, claims the
   * account and subscribes its channel. Resolves to a function that releases the lock and never rejects.
   * Rejects with {@link BusUnavailableError}. A holder may lose the lock after a few seconds; the login epoch
   * then decides.
   */
  lock(user: number): Promise<() => Promise<void>>;
  /**
   * Takes `count` tokens from a bucket that all nodes share, and resolves to 0. If the bucket holds fewer,
   * takes none and resolves to the milliseconds until it holds `count`; a count above the burst is never
   * available. A negative count refunds tokens. A bucket may be lost, and is full afterwards. Rejects with
   * {@link BusUnavailableError}.
   */
  tryConsume(bucket: string, limit: RateLimit, count: number): Promise<number>;
  /** Releases all subscriptions and locks, and disconnects. */
  close(): Promise<void>;
}
