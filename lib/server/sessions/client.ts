/** The client of a connection: not authenticated yet, or a user with a session. */
import type { Requester, Standing } from "../../passwords/password_hasher.ts";
import { networkKey } from "../limits/connection_counter.ts";
import type { Allowance } from "../limits/rate_limiter.ts";
import type { Connection } from "../net/connection.ts";
import { leave } from "./session_lifecycle.ts";
import type { Node } from "../node.ts";
import type { Origin } from "../net/client_address.ts";
import type { Session } from "./session.ts";

/** The one at the other end. */
export class Caller {
  readonly node: Node;
  readonly connection: Connection;
  /** Since when it could have logged in, by `performance.now`. */
  anonymousSince = performance.now();
  /** When it was last sent a PING, by the same clock. */
  pingedAt = -Infinity;
  /** Its proxy's header was not there in time when it was last looked at. */
  isOverdue = false;
  /** The requests it had begun when its time to log in was over: no more are waited for. */
  lastChance: number | undefined;
  readonly #origin: Pick<Origin, "from" | "place">;
  #session: Session | undefined;
  #allowance: Allowance | undefined;
  #hasRegistered = false;
  #hasEntered = false;
  #leaving: AbortController | undefined;

  constructor(node: Node, connection: Connection, origin: Pick<Origin, "from" | "place">) {
    this.node = node;
    this.connection = connection;
    this.#origin = origin;
    this.#allowance = node.allowances.ofStranger();
  }

  /** Its login; undefined before it, and after a logout. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** How much it may ask for; undefined if that isn't limited. */
  get allowance(): Allowance | undefined {
    return this.#allowance;
  }

  /** It has logged in. */
  enter(session: Session): void {
    this.#session = session;
    this.#hasEntered = true;
    this.#allowance = this.node.allowances.ofUser(session.user);
  }

  /** Whether it has neither logged in nor registered so far. */
  get cameInVain(): boolean {
    return !this.#hasEntered && !this.#hasRegistered;
  }

  /** The address it called from; a trusted proxy's own until that has said whose. */
  get from(): string {
    return this.#origin.from;
  }

  /** What the limits per address count it by; undefined if they don't. */
  get address(): string | undefined {
    return this.#origin.place?.address;
  }

  /** Whether it comes through a trusted proxy that has not said for whom. */
  get isAwaited(): boolean {
    return this.#origin.place === undefined;
  }

  /**
   * Aborted when nothing more comes from the client, so that what only the client waits for need not be
   * begun. To be asked for while an exclusive request is being answered.
   */
  get leaving(): AbortSignal {
    this.#leaving ??= new AbortController();
    const leaving = this.#leaving;
    this.connection.watchForEnd(() => leaving.abort());
    return leaving.signal;
  }

  /**
   * On whose behalf a password is hashed for it; see {@link leaving}. Those who are exempt from limits share
   * a place.
   */
  requester(standing: Standing): Requester {
    const address = this.address ?? "exempt";
    const network = this.address === undefined ? address : networkKey(this.address);
    return { network, address, standing, signal: this.leaving };
  }

  /** It has registered: it gets the whole time to log in once more, but not as often as it likes. */
  registered(): void {
    if (!this.#hasRegistered) this.anonymousSince = performance.now();
    this.#hasRegistered = true;
  }

  /** It has logged out, and may log in again. Resolves when that may be anywhere. */
  async loggedOut(): Promise<void> {
    await this.hangUp();
    this.#session = undefined;
    this.#allowance = this.node.allowances.ofStranger();
    this.lastChance = undefined;
    this.anonymousSince = performance.now();
  }

  /** Nothing more comes from it: its session, if it has one, is over. */
  async hangUp(): Promise<void> {
    if (this.session) await leave(this.node, this.session);
  }

  /** Its connection has ended, and counts no more among those of its address. */
  gone(): void {
    this.#origin.place?.leave();
  }
}
