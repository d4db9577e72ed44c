/** A user who is logged in on a connection of this node. */
import { Msg } from "../../wire/protocol.ts";
import type { Connection } from "../net/connection.ts";
import { Delivery, type DeliveryDeps } from "../delivery/delivery.ts";
import { stateOf } from "../protocol/dialect.ts";

const NONE: ReadonlySet<number> = new Set();

/** One login, from its acceptance until its connection ends, it logs out, or another takes over. */
export class Session {
  readonly user: number;
  readonly name: string;
  /** Its number among the account's logins: a session is over when there is one with a higher number. */
  readonly loginEpoch: number;
  readonly connection: Connection;
  readonly delivery: Delivery;
  #groups: Set<number> | undefined;
  /** Friends who are online as far as the client has been told. */
  #presenceSent: Set<number> | undefined;
  #started = false;
  #pendingRosterReplies = 0; // answers under way that tell which friends are online
  /** Friends whose state has changed while it couldn't be told: the last state of each is enough. */
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

  /** From now on, with the login's answer sent, the client is told what happens. */
  start(): void {
    this.#started = true;
    this.onDrain();
    this.delivery.start();
  }

  /** The connection has room again. */
  onDrain(): void {
    if (!this.#started) return;
    if (this.#pendingPresence && this.#pendingRosterReplies === 0) {
      const pending = this.#pendingPresence;
      this.#pendingPresence = undefined;
      for (const [user, online] of pending) this.pushPresence(user, online);
    }
    this.delivery.resume();
  }

  /** The groups whose messages it gets. */
  get groups(): ReadonlySet<number> {
    return this.#groups ?? NONE;
  }

  /** It gets a group's messages from now on. */
  addGroup(group: number): void {
    (this.#groups ??= new Set()).add(group);
  }

  /** Whether the login has been answered. */
  get isStarted(): boolean {
    return this.#started;
  }

  /** The friends who are online as far as the client has been told. */
  get presenceSent(): ReadonlySet<number> {
    return this.#presenceSent ?? NONE;
  }

  /**
   * Asks `look` which of all its friends are online, for an answer that tells the client. Behind the answer
   * it is told what was heard meanwhile, which may be newer, and, if it isn't the login's, once more by
   * PRESENCE what is news: so that a client may go by either.
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
          // or it would not be told what was heard
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

  /** A friend is online, or is not: the client is told, unless it knows. */
  pushPresence(user: number, online: boolean): void {
    if (!this.#started || this.#pendingRosterReplies > 0 || !this.connection.isWritable) {
      (this.#pendingPresence ??= new Map()).set(user, online);
      return;
    }
    this.#pendingPresence?.delete(user); // older than this, and must not be told behind it
    if (online === this.presenceSent.has(user)) return;
    this.markPresenceSent(user, online);
    this.connection.send({ msgid: Msg.PRESENCE, id: user, state: stateOf(online) });
  }

  /** What the client is told of one friend. */
  markPresenceSent(user: number, online: boolean): void {
    if (online) (this.#presenceSent ??= new Set()).add(user);
    else this.#presenceSent?.delete(user);
  }
}
