/** Sessions: users who are logged in on a connection of this node. */
import { Msg } from "../../wire/protocol.ts";
import type { Connection } from "../net/connection.ts";
import { Delivery, type DeliveryDeps } from "../delivery/delivery.ts";
import { stateOf } from "../protocol/dialect.ts";

const NONE: ReadonlySet<number> = new Set();

/**
 * A reason for which the server ends a session: a later login, a deleted account, or a store with another
 * history.
 */
export type SessionEndReason = "replaced" | "account_deleted" | "store_restored";

/** A login, from its acceptance until a logout, the end of its connection, or a takeover. */
export class Session {
  readonly user: number;
  readonly name: string;
  /** The number of the login among those of the account. A login with a higher epoch ends the session. */
  readonly loginEpoch: number;
  readonly connection: Connection;
  readonly delivery: Delivery;
  #groups: Set<number> | undefined;
  /** The friends that the client knows as online. */
  #presenceSent: Set<number> | undefined;
  #started = false;
  #pendingRosterReplies = 0; // replies in progress that contain the state of all friends
  /** The last state of friends whose PRESENCE could not be sent yet. */
  #pendingPresence: Map<number, boolean> | undefined;

  constructor(
    account: { readonly id: number; readonly name: string },
    loginEpoch: number,
    connection: Connection,
    deps: DeliveryDeps,
  ) {
    this.user = account.id;
    this.name = account.name;
    this.loginEpoch = loginEpoch;
    this.connection = connection;
    this.delivery = new Delivery(account.id, connection, deps);
  }

  /** Starts to send messages and PRESENCE. Called when the reply to the login has been sent. */
  start(): void {
    this.#started = true;
    this.onDrain();
    this.delivery.start();
  }

  /** Sends the messages that wait. Called when the connection is writable again. */
  onDrain(): void {
    if (!this.#started) return;
    if (this.#pendingPresence && this.#pendingRosterReplies === 0) {
      const pending = this.#pendingPresence;
      this.#pendingPresence = undefined;
      for (const [user, online] of pending) this.pushPresence(user, online);
    }
    this.delivery.resume();
  }

  /** The groups whose messages the session receives. */
  get groups(): ReadonlySet<number> {
    return this.#groups ?? NONE;
  }

  /** Adds a group: from now on the session receives its messages. */
  addGroup(group: number): void {
    (this.#groups ??= new Set()).add(group);
  }

  /** Whether the reply to the login has been sent. */
  get isStarted(): boolean {
    return this.#started;
  }

  /** The friends that the client knows as online. */
  get presenceSent(): ReadonlySet<number> {
    return this.#presenceSent ?? NONE;
  }

  /**
   * Fetches the friends who are online, for a reply that contains their states. After the reply the client
   * gets a PRESENCE for each change that arrived meanwhile, which may be newer. If the reply is not that of
   * the login, the client also gets a PRESENCE for each state that differs from what it knew. So a client may
   * go by either.
   */
  async syncPresence(fetchOnline: () => Promise<Iterable<number>>): Promise<void> {
    this.#pendingRosterReplies++;
    if (!this.#started) this.#pendingPresence = undefined;
    try {
      const online = new Set(await fetchOnline());
      if (!this.#started) this.#presenceSent = online.size > 0 ? online : undefined;
      else {
        for (const user of online.symmetricDifference(this.presenceSent)) {
          const [fetched, pending] = [online.has(user), this.#pendingPresence?.get(user)];
          if (pending === undefined) (this.#pendingPresence ??= new Map()).set(user, fetched);
          // otherwise the pending state would count as sent, and be dropped
          else if (pending !== fetched) this.markPresenceSent(user, fetched);
        }
      }
    } finally {
      setTimeout(() => {
        this.#pendingRosterReplies--;
        this.onDrain();
      }, 0);
    }
  }

  /** Sends a friend's state, unless the client knows it. Defers it while the connection is not writable. */
  pushPresence(user: number, online: boolean): void {
    if (!this.#started || this.#pendingRosterReplies > 0 || !this.connection.isWritable) {
      (this.#pendingPresence ??= new Map()).set(user, online);
      return;
    }
    this.#pendingPresence?.delete(user); // this state replaces it
    if (online === this.presenceSent.has(user)) return;
    this.markPresenceSent(user, online);
    this.connection.send({ msgid: Msg.PRESENCE, id: user, state: stateOf(online) });
  }

  /** Records the state of a friend that the client has been sent. */
  markPresenceSent(user: number, online: boolean): void {
    if (online) (this.#presenceSent ??= new Set()).add(user);
    else this.#presenceSent?.delete(user);
  }
}
