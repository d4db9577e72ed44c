/**
 * Makes good what hints did not bring: while the bus is away, when it is back, and when another node has
 * gone. The store has the truth in each case: who has begun a later login, who has messages waiting, who is
 * shown as online.
 */
import type { Bus } from "../../bus/bus.ts";
import { type Log, MINUTELY, Seldom } from "../../log.ts";
import type { Login, Store } from "../../store/store.ts";
import { Duty } from "./background_task.ts";
import type { Cursors } from "../delivery/cursor_writer.ts";
import type { Presence } from "../sessions/presence.ts";
import type { Session } from "../sessions/session.ts";
import type { Sessions } from "../sessions/session_registry.ts";

const POLL = 1_000; // ms between two looks into the store while the bus is unavailable or a node is silent
// ms after the bus is back until it is believed who is not there: others may be slower
const SETTLING = 2_000;
// ms between two sweeps at any time: a login may have begun whose answer was lost
const SWEEP_ANYWAY = 300_000;
// ms between two looks at any time: another node may be cut off from the bus, and not know
const LOOK_ANYWAY = 30_000;
const AT_ONCE = 500; // users looked up together
const LOCKS = 100; // accounts looked at together, each under its lock
const SWEEP = 0; // in place of a user's id, for the lock on sweeping: one node at a time does it

/** What recovery works with. */
export interface RecoveryPorts {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: Sessions;
  readonly presence: Presence;
  readonly cursors: Pick<Cursors, "settled">;
  readonly log: Log;
  readonly epoch: { reportLoss(what: string): void };
}

/** What a node does about outages. */
export class Recovery {
  readonly #ports: RecoveryPorts;
  readonly #takenOver: (session: Session) => void;
  readonly #vanished: (session: Session) => void;
  readonly #revision: Duty;
  readonly #sweep: Duty;
  readonly #refresh: Duty;
  readonly #recheck: Duty;
  readonly #confirmation: Duty;
  /** Users whose accounts another node says to have taken over. */
  readonly #claimed = new Set<number>();
  readonly #doubts = new Seldom(MINUTELY);
  readonly #timers: readonly ReturnType<typeof setInterval>[];
  #stopped = false;
  #isDown = false;
  #isSilent = false;
  /** Logins may have been ended by others, who took this node for gone. */
  #mayResume = false;
  #polling: ReturnType<typeof setInterval> | undefined;

  /**
   * `takenOver` is called for a session whose account has begun a later login elsewhere, `vanished` for one
   * whose account is gone.
   */
  constructor(
    ports: RecoveryPorts,
    takenOver: (session: Session) => void,
    vanished: (session: Session) => void,
  ) {
    this.#ports = ports;
    this.#vanished = vanished;
    this.#takenOver = takenOver;
    const { log, presence } = ports;
    this.#revision = new Duty("looking for what hints did not bring", () => this.#revise(), log);
    this.#sweep = new Duty("looking for users of crashed nodes", () => this.#sweepOnce(), log);
    this.#refresh = new Duty("looking at all friends", () => presence.refresh(() => this.#stopped), log);
    this.#recheck = new Duty("looking at friends who are online", () => presence.recheck(), log);
    this.#confirmation = new Duty("confirming takeovers", () => this.#confirm(), log);
    this.#timers = [
      setInterval(() => this.#reviseAll(), LOOK_ANYWAY),
      setInterval(() => this.#sweep.fallDue(), SWEEP_ANYWAY),
    ];
  }

  /** The node has begun: whom an earlier one has left as online, no longer is. */
  start(): void {
    this.#sweep.fallDue();
  }

  /** The bus is away: the store is polled in its place. */
  down(why: Error): void {
    if (this.#stopped) return;
    this.#ports.log.info("asking the database until the other nodes can be reached", { why });
    this.#isDown = true;
    this.#poll();
  }

  /** The bus is back. */
  up(): void {
    this.#isDown = false;
    this.#poll();
    this.#reviseAll();
    this.#refresh.fallDue(SETTLING);
    this.#sweep.fallDue(SETTLING);
  }

  /**
   * Another node has come, or come back: its users are online, which this node may not have been told. While
   * it was cut off it may have committed messages and begun logins of this node's users.
   */
  came(): void {
    this.#reviseAll();
    this.#refresh.fallDue();
  }

  /**
   * Whether another node has not been heard for seconds, or has vanished and may still be there: while it is
   * so, the store is polled for what that node's hints don't bring.
   */
  silent(isSilent: boolean): void {
    if (this.#stopped) return;
    this.#ports.log.info(
      isSilent ? "another node is silent: asking the database too" : "no other node is silent",
    );
    this.#isSilent = isSilent;
    this.#poll();
    this.#reviseAll();
  }

  /**
   * By a hint, a user who is logged in here has begun a later login on another node. The store has the last
   * word; while it is unavailable the session goes on, which changes nothing that is the later login's.
   */
  claimed(user: number): void {
    this.#claimed.add(user);
    this.#confirmation.fallDue();
  }

  /** It isn't known whether a login has begun that would have no session. */
  uncertain(): void {
    this.#sweep.fallDue(SETTLING);
  }

  /**
   * Another node has gone. What it had committed without saying so is found, and its users are offline. In
   * the store they become so a little later: many come back at once, and should not find them busy.
   */
  gone(): void {
    this.#ports.log.info("another node has gone");
    this.#recheck.fallDue();
    this.#reviseAll();
    this.#sweep.fallDue(SETTLING);
  }

  /** Does no more of it. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timers.forEach(clearInterval);
    clearInterval(this.#polling);
    await Promise.all(
      [this.#revision, this.#sweep, this.#refresh, this.#recheck, this.#confirmation].map((duty) =>
        duty.stop()
      ),
    );
  }

  /** Lets go of the accounts that were claimed, where the store has a later login. */
  async #confirm(): Promise<void> {
    const { store, sessions, log } = this.#ports;
    while (this.#claimed.size > 0 && !this.#stopped) {
      const some = [...this.#claimed].slice(0, AT_ONCE);
      // a claim that comes from now on is looked at once more
      for (const user of some) this.#claimed.delete(user);
      const lastLogins = await store.lastLogins(some).catch((error) => {
        for (const user of some) this.#claimed.add(user);
        throw error;
      });
      for (const user of some) {
        const session = sessions.of(user);
        if (!session) continue;
        if (session.login < (lastLogins.get(user) ?? 0)) void this.#letGo(session);
        else {
          this.#doubts.say((count) =>
            log.warn("ignored takeovers that the database does not have", { count })
          );
          this.#revision.fallDue(POLL); // a member of a replicated group may have it later
        }
      }
    }
  }

  /** What the client has acknowledged, its next node is to know before it looks for what was missed. */
  async #letGo(session: Session): Promise<void> {
    await this.#ports.cursors.settled(session.user);
    this.#takenOver(session);
  }

  /** Looks for what hints did not bring, and sets logins right as soon as the bus is there. */
  #reviseAll(): void {
    this.#mayResume = true;
    this.#revision.fallDue();
  }

  async #revise(): Promise<void> {
    const resumes = this.#mayResume && !this.#isDown;
    if (resumes) this.#mayResume = false;
    try {
      await this.#reviseUsers(resumes);
    } catch (error) {
      this.#mayResume ||= resumes;
      throw error;
    }
  }

  /**
   * Ends sessions that were taken over without a word, resumes the logins of the others in the store if told
   * so, and lets those with messages waiting look for them.
   */
  async #reviseUsers(resumes: boolean): Promise<void> {
    const { store, sessions, presence } = this.#ports;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length && !this.#stopped; i += AT_ONCE) {
      const some = users.slice(i, i + AT_ONCE);
      const lastLogins = await store.lastLogins(some);
      for (const user of some) {
        const session = sessions.of(user);
        if (session && !lastLogins.has(user)) this.#vanished(session);
      }
      for (const [user, login] of lastLogins) {
        const session = sessions.of(user);
        if (!session || session.login === login) continue;
        if (session.login > login) {
          this.#ports.epoch.reportLoss(`the login of user ${user}`);
          return;
        }
        this.#takenOver(session);
        presence.announce(user); // perhaps without a session
        this.uncertain();
      }
      if (resumes) await store.resumeLogins(this.#loginsOf(some));
      for (const user of await store.behind(some)) sessions.of(user)?.delivery.lookAgain();
    }
  }

  /** Polls while hints may be lost, and not else. */
  #poll(): void {
    if (this.#isDown || this.#isSilent) {
      this.#polling ??= setInterval(() => this.#revision.fallDue(), POLL);
    } else {
      clearInterval(this.#polling);
      this.#polling = undefined;
    }
  }

  #loginsOf(users: readonly number[]): Login[] {
    const sessions = users.map((user) => this.#ports.sessions.of(user)).filter((session) =>
      session !== undefined
    );
    return sessions.map(({ user, login }) => ({ user, login }));
  }

  /** Ends the logins of users who are online by the store and nowhere on the bus. */
  async #sweepOnce(): Promise<void> {
    const { store, bus } = this.#ports;
    const release = await bus.lock(SWEEP);
    try {
      for (let after = 0; !this.#stopped;) {
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

  /** Under the lock, as a user who is just logging in is online by the store first. */
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
