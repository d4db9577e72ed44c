/** A user who is logged in on a connection of this node. */
import { Msg } from "../wire/protocol.ts";
import type { Connection } from "./connection.ts";
import { Delivery, type DeliveryPorts } from "./delivery.ts";
import { stateOf } from "./dialect.ts";

/** One login, from its acceptance until its connection ends, it logs out, or another takes over. */
export class Session {
  readonly user: number;
  readonly name: string;
  readonly connection: Connection;
  readonly delivery: Delivery;
  /** The groups whose messages it gets. */
  readonly groups = new Set<number>();
  #started = false;
  /** Friends whose state has changed while it couldn't be told: the last state of each is enough. */
  #untold: Map<number, boolean> | undefined;

  constructor(
    account: { readonly id: number; readonly name: string },
    connection: Connection,
    ports: DeliveryPorts,
  ) {
    this.user = account.id;
    this.name = account.name;
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
    if (this.#untold) {
      const untold = this.#untold;
      this.#untold = undefined;
      for (const [user, online] of untold) this.tellPresence(user, online);
    }
    this.delivery.resume();
  }

  /** Somebody on the friend list came or went. */
  tellPresence(user: number, online: boolean): void {
    if (this.#started && this.connection.hasRoom) {
      this.connection.send({ msgid: Msg.PRESENCE, id: user, state: stateOf(online) });
    } else (this.#untold ??= new Map()).set(user, online);
  }
}
