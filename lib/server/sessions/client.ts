/** The client of a connection: not authenticated yet, or a user with a session. */
import type { Requester, Standing } from "../../passwords/password_hasher.ts";
import { networkKey } from "../limits/connection_counter.ts";
import type { RateLimiter } from "../limits/rate_limiter.ts";
import type { Connection } from "../net/connection.ts";
import { releaseSession } from "./session_lifecycle.ts";
import type { Node } from "../node.ts";
import type { ClientAddress } from "../net/client_address.ts";
import type { Session } from "./session.ts";

/** The one at the other end. */
export class Client {
  readonly node: Node;
  readonly connection: Connection;
  /** Since when it could have logged in, by `performance.now`. */
  unauthenticatedSince = performance.now();
  /** When it was last sent a PING, by the same clock. */
  lastPingAt = -Infinity;
  /** Its proxy's header was not there in time when it was last looked at. */
  isHeaderOverdue = false;
  /** The requests it had begun when its time to log in was over: no more are waited for. */
  deadlineRequestCount: number | undefined;
  readonly #clientAddress: Pick<ClientAddress, "remoteAddress" | "slot">;
  #session: Session | undefined;
  #rateLimiter: RateLimiter | undefined;
  #hasRegistered = false;
  #hasLoggedIn = false;
  #abortController: AbortController | undefined;

  constructor(
    node: Node,
    connection: Connection,
    clientAddress: Pick<ClientAddress, "remoteAddress" | "slot">,
  ) {
    this.node = node;
    this.connection = connection;
    this.#clientAddress = clientAddress;
    this.#rateLimiter = node.rateLimiters.forUnauthenticated();
  }

  /** Its login; undefined before it, and after a logout. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** How much it may ask for; undefined if that isn't limited. */
  get rateLimiter(): RateLimiter | undefined {
    return this.#rateLimiter;
  }

  /** It has logged in. */
  attachSession(session: Session): void {
    this.#session = session;
    this.#hasLoggedIn = true;
    this.#rateLimiter = this.node.rateLimiters.forUser(session.user);
  }

  /** Whether it has neither logged in nor registered so far. */
  get neverAuthenticated(): boolean {
    return !this.#hasLoggedIn && !this.#hasRegistered;
  }

  /** The address it called from; a trusted proxy's own until that has said whose. */
  get remoteAddress(): string {
    return this.#clientAddress.remoteAddress;
  }

  /** What the limits per address count it by; undefined if they don't. */
  get rateLimitKey(): string | undefined {
    return this.#clientAddress.slot?.key;
  }

  /** Whether it comes through a trusted proxy that has not said for whom. */
  get awaitsProxyHeader(): boolean {
    return this.#clientAddress.slot === undefined;
  }

  /**
   * Aborted when nothing more comes from the client, so that what only the client waits for need not be
   * begun. To be asked for while an exclusive request is being answered.
   */
  get disconnectSignal(): AbortSignal {
    this.#abortController ??= new AbortController();
    const controller = this.#abortController;
    this.connection.watchForEnd(() => controller.abort());
    return controller.signal;
  }

  /**
   * On whose behalf a password is hashed for it; see {@link disconnectSignal}. Those who are exempt from limits share
   * a place.
   */
  requester(standing: Standing): Requester {
    const address = this.rateLimitKey ?? "exempt";
    const network = this.rateLimitKey === undefined ? address : networkKey(this.rateLimitKey);
    return { network, address, standing, signal: this.disconnectSignal };
  }

  /** It has registered: it gets the whole time to log in once more, but not as often as it likes. */
  onRegistered(): void {
    if (!this.#hasRegistered) this.unauthenticatedSince = performance.now();
    this.#hasRegistered = true;
  }

  /** It has logged out, and may log in again. Resolves when that may be anywhere. */
  async detachSession(): Promise<void> {
    await this.endSession();
    this.#session = undefined;
    this.#rateLimiter = this.node.rateLimiters.forUnauthenticated();
    this.deadlineRequestCount = undefined;
    this.unauthenticatedSince = performance.now();
  }

  /** Nothing more comes from it: its session, if it has one, is over. */
  async endSession(): Promise<void> {
    if (this.session) await releaseSession(this.node, this.session);
  }

  /** Its connection has ended, and counts no more among those of its address. */
  dispose(): void {
    this.#clientAddress.slot?.release();
  }
}
