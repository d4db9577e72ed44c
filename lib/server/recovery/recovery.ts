/**
 * Makes good what hints did not bring: while the bus is away, when it is back, and when another node has
 * gone. The store has the truth in each case: who has begun a later login, who has messages waiting, who is
 * shown as online.
 */
import type { Bus } from "../../bus/bus.ts";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import type { Login, Store } from "../../store/store.ts";
import { BackgroundTask } from "../scheduling/background_task.ts";
import type { CursorWriter } from "../delivery/cursor_writer.ts";
import type { Presence } from "../sessions/presence.ts";
import type { Session } from "../sessions/session.ts";
import type { SessionRegistry } from "../sessions/session_registry.ts";

const POLL_INTERVAL_MS = 1_000; // ms between two looks into the store while the bus is unavailable or a node is silent
// ms after the bus is back until it is believed who is not there: others may be slower
const REJOIN_GRACE_MS = 2_000;
// ms between two sweeps at any time: a login may have begun whose answer was lost
const SWEEP_INTERVAL_MS = 300_000;
// ms between two looks at any time: another node may be cut off from the bus, and not know
const RECONCILE_INTERVAL_MS = 30_000;
const BATCH_SIZE = 500; // users looked up together
const MAX_CONCURRENT_LOCKS = 100; // accounts looked at together, each under its lock
const SWEEP_LOCK_ID = 0; // in place of a user's id, for the lock on sweeping: one node at a time does it

/** What recovery works with. */
export interface RecoveryDeps {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: SessionRegistry;
  readonly presence: Presence;
  readonly cursors: Pick<CursorWriter, "flushUser">;
  readonly log: Log;
  readonly storeEpoch: { reportLoss(what: string): void };
}

/** What a node does about outages. */
export class Recovery {
  readonly #deps: RecoveryDeps;
  readonly #onReplaced: (session: Session) => void;
  readonly #onAccountDeleted: (session: Session) => void;
  readonly #reconcileTask: BackgroundTask;
  readonly #sweepTask: BackgroundTask;
  readonly #refreshTask: BackgroundTask;
  readonly #recheckTask: BackgroundTask;
  readonly #confirmTask: BackgroundTask;
  /** Users whose accounts another node says to have taken over. */
  readonly #claimedUsers = new Set<number>();
  readonly #ignoredTakeovers = new LogThrottle(MINUTE_MS);
  readonly #timers: readonly ReturnType<typeof setInterval>[];
  #stopped = false;
  #isBusDown = false;
  #isNodeSilent = false;
  /** Logins may have been ended by others, who took this node for gone. */
  #reclaimPending = false;
  #pollTimer: ReturnType<typeof setInterval> | undefined;

  /**
   * `takenOver` is called for a session whose account has begun a later login elsewhere, `vanished` for one
   * whose account is gone.
   */
  constructor(
    deps: RecoveryDeps,
    onReplaced: (session: Session) => void,
    onAccountDeleted: (session: Session) => void,
  ) {
    this.#deps = deps;
    this.#onAccountDeleted = onAccountDeleted;
    this.#onReplaced = onReplaced;
    const { log, presence } = deps;
    this.#reconcileTask = new BackgroundTask(
      "looking for what hints did not bring",
      () => this.#reconcile(),
      log,
    );
    this.#sweepTask = new BackgroundTask("looking for users of crashed nodes", () => this.#runSweep(), log);
    this.#refreshTask = new BackgroundTask(
      "looking at all friends",
      () => presence.refresh(() => this.#stopped),
      log,
    );
    this.#recheckTask = new BackgroundTask(
      "looking at friends who are online",
      () => presence.recheckOnline(),
      log,
    );
    this.#confirmTask = new BackgroundTask("confirming takeovers", () => this.#confirmTakeovers(), log);
    this.#timers = [
      setInterval(() => this.#scheduleReconcile(), RECONCILE_INTERVAL_MS),
      setInterval(() => this.#sweepTask.schedule(), SWEEP_INTERVAL_MS),
    ];
  }

  /** The node has begun: whom an earlier one has left as online, no longer is. */
  start(): void {
    this.#sweepTask.schedule();
  }

  /** The bus is away: the store is polled in its place. */
  onBusDown(error: Error): void {
    if (this.#stopped) return;
    this.#deps.log.info("asking the database until the other nodes can be reached", { why: error });
    this.#isBusDown = true;
    this.#updatePolling();
  }

  /** The bus is back. */
  onBusUp(): void {
    this.#isBusDown = false;
    this.#updatePolling();
    this.#scheduleReconcile();
    this.#refreshTask.schedule(REJOIN_GRACE_MS);
    this.#sweepTask.schedule(REJOIN_GRACE_MS);
  }

  /**
   * Another node has come, or come back: its users are online, which this node may not have been told. While
   * it was cut off it may have committed messages and begun logins of this node's users.
   */
  onNodeJoined(): void {
    this.#scheduleReconcile();
    this.#refreshTask.schedule();
  }

  /**
   * Whether another node has not been heard for seconds, or has vanished and may still be there: while it is
   * so, the store is polled for what that node's hints don't bring.
   */
  onNodeSilent(isSilent: boolean): void {
    if (this.#stopped) return;
    this.#deps.log.info(
      isSilent ? "another node is silent: asking the database too" : "no other node is silent",
    );
    this.#isNodeSilent = isSilent;
    this.#updatePolling();
    this.#scheduleReconcile();
  }

  /**
   * By a hint, a user who is logged in here has begun a later login on another node. The store has the last
   * word; while it is unavailable the session goes on, which changes nothing that is the later login's.
   */
  onTakeover(user: number): void {
    this.#claimedUsers.add(user);
    this.#confirmTask.schedule();
  }

  /** It isn't known whether a login has begun that would have no session. */
  onUncertainLogin(): void {
    this.#sweepTask.schedule(REJOIN_GRACE_MS);
  }

  /**
   * Another node has gone. What it had committed without saying so is found, and its users are offline. In
   * the store they become so a little later: many come back at once, and should not find them busy.
   */
  onNodeLeft(): void {
    this.#deps.log.info("another node has gone");
    this.#recheckTask.schedule();
    this.#scheduleReconcile();
    this.#sweepTask.schedule(REJOIN_GRACE_MS);
  }

  /** Does no more of it. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timers.forEach(clearInterval);
    clearInterval(this.#pollTimer);
    await Promise.all(
      [this.#reconcileTask, this.#sweepTask, this.#refreshTask, this.#recheckTask, this.#confirmTask].map((
        task,
      ) => task.stop()),
    );
  }

  /** Lets go of the accounts that were claimed, where the store has a later login. */
  async #confirmTakeovers(): Promise<void> {
    const { store, sessions, log } = this.#deps;
    while (this.#claimedUsers.size > 0 && !this.#stopped) {
      const batch = [...this.#claimedUsers].slice(0, BATCH_SIZE);
      // a claim that comes from now on is looked at once more
      for (const user of batch) this.#claimedUsers.delete(user);
      const latestEpochs = await store.latestLoginEpochs(batch).catch((error) => {
        for (const user of batch) this.#claimedUsers.add(user);
        throw error;
      });
      for (const user of batch) {
        const session = sessions.get(user);
        if (!session) continue;
        if (session.loginEpoch < (latestEpochs.get(user) ?? 0)) void this.#releaseSession(session);
        else {
          this.#ignoredTakeovers.log((count) =>
            log.warn("ignored takeovers that the database does not have", { count })
          );
          this.#reconcileTask.schedule(POLL_INTERVAL_MS); // a member of a replicated group may have it later
        }
      }
    }
  }

  /** What the client has acknowledged, its next node is to know before it looks for what was missed. */
  async #releaseSession(session: Session): Promise<void> {
    await this.#deps.cursors.flushUser(session.user);
    this.#onReplaced(session);
  }

  /** Looks for what hints did not bring, and sets logins right as soon as the bus is there. */
  #scheduleReconcile(): void {
    this.#reclaimPending = true;
    this.#reconcileTask.schedule();
  }

  async #reconcile(): Promise<void> {
    const reclaims = this.#reclaimPending && !this.#isBusDown;
    if (reclaims) this.#reclaimPending = false;
    try {
      await this.#reconcileUsers(reclaims);
    } catch (error) {
      this.#reclaimPending ||= reclaims;
      throw error;
    }
  }

  /**
   * Ends sessions that were taken over without a word, resumes the logins of the others in the store if told
   * so, and lets those with messages waiting look for them.
   */
  async #reconcileUsers(reclaims: boolean): Promise<void> {
    const { store, sessions, presence } = this.#deps;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length && !this.#stopped; i += BATCH_SIZE) {
      const batch = users.slice(i, i + BATCH_SIZE);
      const latestEpochs = await store.latestLoginEpochs(batch);
      for (const user of batch) {
        const session = sessions.get(user);
        if (session && !latestEpochs.has(user)) this.#onAccountDeleted(session);
      }
      for (const [user, epoch] of latestEpochs) {
        const session = sessions.get(user);
        if (!session || session.loginEpoch === epoch) continue;
        if (session.loginEpoch > epoch) {
          this.#deps.storeEpoch.reportLoss(`the login of user ${user}`);
          return;
        }
        this.#onReplaced(session);
        presence.announce(user); // perhaps without a session
        this.onUncertainLogin();
      }
      if (reclaims) await store.reclaimAccounts(this.#loginsOf(batch));
      for (const user of await store.usersWithUnread(batch)) sessions.get(user)?.delivery.requestResync();
    }
  }

  /** Polls while hints may be lost, and not else. */
  #updatePolling(): void {
    if (this.#isBusDown || this.#isNodeSilent) {
      this.#pollTimer ??= setInterval(() => this.#reconcileTask.schedule(), POLL_INTERVAL_MS);
    } else {
      clearInterval(this.#pollTimer);
      this.#pollTimer = undefined;
    }
  }

  #loginsOf(users: readonly number[]): Login[] {
    const sessions = users.map((user) => this.#deps.sessions.get(user)).filter((session) =>
      session !== undefined
    );
    return sessions.map(({ user, loginEpoch }) => ({ user, loginEpoch }));
  }

  /** Ends the logins of users who are online by the store and nowhere on the bus. */
  async #runSweep(): Promise<void> {
    const { store, bus } = this.#deps;
    const unlock = await bus.lock(SWEEP_LOCK_ID);
    try {
      for (let after = 0; !this.#stopped;) {
        const logins = await store.onlineLogins(after, BATCH_SIZE);
        const online = await bus.online(logins.map(({ user }) => user));
        const orphaned = logins.filter(({ user }) => !online.has(user));
        for (let i = 0; i < orphaned.length; i += MAX_CONCURRENT_LOCKS) {
          await Promise.all(
            orphaned.slice(i, i + MAX_CONCURRENT_LOCKS).map((login) => this.#releaseAccount(login)),
          );
        }
        if (logins.length < BATCH_SIZE) return;
        after = logins.at(-1)!.user;
      }
    } finally {
      await unlock();
    }
  }

  /** Under the lock, as a user who is just logging in is online by the store first. */
  async #releaseAccount(login: Login): Promise<void> {
    const { store, bus } = this.#deps;
    const unlock = await bus.lock(login.user);
    try {
      if (!(await bus.online([login.user])).has(login.user)) await store.releaseAccounts([login]);
    } finally {
      await unlock();
    }
  }
}
