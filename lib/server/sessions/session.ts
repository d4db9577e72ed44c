/** A user who is logged in on a connection of this node. */
import { Msg } from "../../wire/protocol.ts";
import type { Connection } from "../net/connection.ts";
import { Delivery, type DeliveryPorts } from "../delivery/delivery.ts";
import { stateOf } from "../protocol/dialect.ts";

const NONE: ReadonlySet<number> = new Set();

/** One login, from its acceptance until its connection ends, it logs out, or another takes over. */
export class Session {
  readonly user: number;
  readonly name: string;
  /** Its number among the account's logins: a session is over when there is one with a higher number. */
  readonly login: number;
  readonly connection: Connection;
  readonly delivery: Delivery;
  #groups: Set<number> | undefined;
  /** Friends who are online as far as the client has been told. */
  #shown: Set<number> | undefined;
  #started = false;
  #answering = 0; // answers under way that tell which friends are online
  /** Friends whose state has changed while it couldn't be told: the last state of each is enough. */
  #untold: Map<number, boolean> | undefined;

  constructor(
    account: { readonly id: number; readonly name: string },
    login: number,
    connection: Connection,
    ports: DeliveryPorts,
  ) {
    this.user = account.id;
    this.name = account.name;
    this.login = login;
    this.connection = connection;
    this.delivery = new Delivery(account.id, connection, ports);
  }

  /** From now on, with the login's answer sent, the client is told what happens. */
  start(): void {
    this.#started = true;
    this.room();
    this.delivery.start();
  }

  /** The connection has room again. */
  room(): void {
    if (!this.#started) return;
    if (this.#untold && this.#answering === 0) {
      const untold = this.#untold;
      this.#untold = undefined;
      for (const [user, online] of untold) this.tellPresence(user, online);
    }
    this.delivery.resume();
  }

  /** The groups whose messages it gets. */
  get groups(): ReadonlySet<number> {
    return this.#groups ?? NONE;
  }

  /** It gets a group's messages from now on. */
  joins(group: number): void {
    (this.#groups ??= new Set()).add(group);
  }

  /** Whether the login has been answered. */
  get isStarted(): boolean {
    return this.#started;
  }

  /** The friends who are online as far as the client has been told. */
  get shown(): ReadonlySet<number> {
    return this.#shown ?? NONE;
  }

  /**
   * Asks `look` which of all its friends are online, for an answer that tells the client. Behind the answer
   * it is told what was heard meanwhile, which may be newer, and, if it isn't the login's, once more by
   * PRESENCE what is news: so that a client may go by either.
   */
  async shows(look: () => Promise<Iterable<number>>): Promise<void> {
    this.#answering++;
    if (!this.#started) this.#untold = undefined;
    try {
      const online = new Set(await look());
      if (!this.#started) this.#shown = online.size > 0 ? online : undefined;
      else {
        for (const user of online.symmetricDifference(this.shown)) {
          const [answered, heard] = [online.has(user), this.#untold?.get(user)];
          if (heard === undefined) (this.#untold ??= new Map()).set(user, answered);
          // or it would not be told what was heard
          else if (heard !== answered) this.showsOne(user, answered);
        }
      }
    } finally {
      setTimeout(() => {
        this.#answering--;
        this.room();
      }, 0);
    }
  }

  /** A friend is online, or is not: the client is told, unless it knows. */
  tellPresence(user: number, online: boolean): void {
    if (!this.#started || this.#answering > 0 || !this.connection.hasRoom) {
      (this.#untold ??= new Map()).set(user, online);
      return;
    }
    this.#untold?.delete(user); // older than this, and must not be told behind it
    if (online === this.shown.has(user)) return;
    this.showsOne(user, online);
    this.connection.send({ msgid: Msg.PRESENCE, id: user, state: stateOf(online) });
  }

  /** What the client is told of one friend. */
  showsOne(user: number, online: boolean): void {
    if (online) (this.#shown ??= new Set()).add(user);
    else this.#shown?.delete(user);
  }
}
