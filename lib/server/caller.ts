/** Who is at the other end of a connection: nobody yet, or a user with a session. */
import type { Connection } from "./connection.ts";
import { leave } from "./entrance.ts";
import type { Node } from "./node.ts";
import type { Session } from "./session.ts";

/** The one at the other end. */
export class Caller {
  readonly node: Node;
  readonly connection: Connection;
  /** Its login; undefined before it, and after a logout. */
  session: Session | undefined;
  /** Since when it could have logged in, by `performance.now`. */
  anonymousSince = performance.now();
  /** When it was last sent a PING, by the same clock. */
  pingedAt = -Infinity;
  /** The requests it had begun when its time to log in was over: no more are waited for. */
  lastChance: number | undefined;
  readonly #origin: { readonly from: string };
  #hasRegistered = false;

  constructor(node: Node, connection: Connection, origin: { readonly from: string }) {
    this.node = node;
    this.connection = connection;
    this.#origin = origin;
  }

  /** The address it called from; a trusted proxy's own until that has said whose. */
  get from(): string {
    return this.#origin.from;
  }

  /** It has registered: it gets the whole time to log in once more, but not as often as it likes. */
  registered(): void {
    if (!this.#hasRegistered) this.anonymousSince = performance.now();
    this.#hasRegistered = true;
  }

  /** It has logged out, and may log in again. Resolves when that may be anywhere. */
  async loggedOut(): Promise<void> {
    await this.hangUp();
    this.session = undefined;
    this.lastChance = undefined;
    this.anonymousSince = performance.now();
  }

  /** Nothing more comes from it: its session, if it has one, is over. */
  async hangUp(): Promise<void> {
    if (this.session) await leave(this.node, this.session);
  }
}
