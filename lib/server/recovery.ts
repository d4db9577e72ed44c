/**
 * Makes good what hints did not bring: while the bus is away, when it is back, and when another node has gone. The
 * store has the truth in each case: who has begun a later login, who has messages waiting, who is shown as online.
 */
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log.ts";
import type { Login, Store } from "../store/store.ts";
import { Duty } from "./duty.ts";
import type { Presence } from "./presence.ts";
import type { Session } from "./session.ts";
import type { Sessions } from "./sessions.ts";

const POLL = 1_000; // ms between two looks into the store while the bus is away
const LOOK_ANYWAY = 30_000; // ms between two looks at any time: another node may be cut off from the bus, and not know
const AT_ONCE = 500; // users looked up together
const LOCKS = 100; // accounts looked at together, each under its lock
const SWEEP = 0; // in place of a user's id, for the lock on sweeping: one node at a time does it

/** What recovery works with. */
export interface RecoveryPorts {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: Sessions;
  readonly presence: Presence;
  readonly log: Log;
}

/** What a node does about outages. */
export class Recovery {
  readonly #ports: RecoveryPorts;
  readonly #takenOver: (session: Session) => void;
  readonly #revision: Duty;
  readonly #sweep: Duty;
  readonly #refresh: Duty;
  readonly #recheck: Duty;
  readonly #looking: ReturnType<typeof setInterval>;
  #polling: ReturnType<typeof setInterval> | undefined;

  /** `takenOver` is called for a session whose account has begun a later login elsewhere. */
  constructor(ports: RecoveryPorts, takenOver: (session: Session) => void) {
    this.#ports = ports;
    this.#takenOver = takenOver;
    const { log, presence } = ports;
    this.#revision = new Duty("looking for what hints did not bring", () => this.#revise(), log);
    this.#sweep = new Duty("looking for users of crashed nodes", () => this.#sweepOnce(), log);
    this.#refresh = new Duty("looking at all friends", () => presence.refresh(), log);
    this.#recheck = new Duty("looking at friends who are online", () => presence.recheck(), log);
    this.#looking = setInterval(() => this.#revision.fallDue(), LOOK_ANYWAY);
  }

  /** The node has begun: whom an earlier one has left as online, no longer is. */
  start(): void {
    this.#sweep.fallDue();
  }

  /** The bus is away: the store is polled in its place. */
  down(why: Error): void {
    this.#ports.log.info("asking the database until the other nodes can be reached", { why });
    this.#polling ??= setInterval(() => this.#revision.fallDue(), POLL);
  }

  /** The bus is back. */
  up(): void {
    clearInterval(this.#polling);
    this.#polling = undefined;
    this.#revision.fallDue();
    this.#refresh.fallDue();
    this.#sweep.fallDue();
  }

  /** Another node has gone. What it had committed without saying so is found, and its users are offline. */
  gone(): void {
    this.#ports.log.info("another node has gone");
    this.#recheck.fallDue();
    this.#revision.fallDue();
    this.#sweep.fallDue();
  }

  /** Does no more of it. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    clearInterval(this.#looking);
    clearInterval(this.#polling);
    await Promise.all(
      [this.#revision, this.#sweep, this.#refresh, this.#recheck].map((duty) => duty.stop()),
    );
  }

  /** Ends sessions that were taken over without a word, and lets those with messages waiting look for them. */
  async #revise(): Promise<void> {
    const { store, sessions } = this.#ports;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length; i += AT_ONCE) {
      const some = users.slice(i, i + AT_ONCE);
      for (const [user, login] of await store.lastLogins(some)) {
        const session = sessions.of(user);
        if (session && session.login < login) this.#takenOver(session);
      }
      for (const user of await store.behind(some)) sessions.of(user)?.delivery.lookAgain();
    }
  }

  /** Ends the logins of users who are online by the store and nowhere on the bus. */
  async #sweepOnce(): Promise<void> {
    const { store, bus } = this.#ports;
    const release = await bus.lock(SWEEP);
    try {
      for (let after = 0;;) {
        const logins = await store.loggedIn(after, AT_ONCE);
        const online = await bus.online(logins.map(({ user }) => user));
        const left = logins.filter(({ user }) => !online.has(user));
        for (let i = 0; i < left.length; i += LOCKS) {
          await Promise.all(left.slice(i, i + LOCKS).map((login) => this.#end(login)));
        }
        if (logins.length < AT_ONCE) return;
        after = logins.at(-1)!.user;
      }
    } finally {
      await release();
    }
  }

  /** Under the lock, as somebody who is just coming in is online by the store first. */
  async #end(login: Login): Promise<void> {
    const { store, bus } = this.#ports;
    const release = await bus.lock(login.user);
    try {
      if (!(await bus.online([login.user])).has(login.user)) await store.endLogins([login]);
    } finally {
      await release();
    }
  }
}
