/**
 * Makes up for lost notifications ("hints"): during and after an outage of the bus, and when another node has
 * crashed. The store is the source of truth for later logins, unread messages and online users.
 */
import type { Bus } from "../../bus/bus.ts";
import { type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import type { Login, Store } from "../../store/store.ts";
import { BackgroundTask } from "../scheduling/background_task.ts";
import type { CursorWriter } from "../delivery/cursor_writer.ts";
import type { Presence } from "../sessions/presence.ts";
import type { Session, SessionEndReason } from "../sessions/session.ts";
import type { SessionRegistry } from "../sessions/session_registry.ts";

/** Milliseconds between two polls of the store while the bus is unavailable or another node is silent. */
const POLL_INTERVAL_MS = 1_000;
/**
 * Milliseconds in which other nodes reconnect to the bus after an outage. Before that, absence means nothing.
 */
const REJOIN_GRACE_MS = 2_000;
/**
 * Milliseconds between two sweeps in normal operation. They end logins that began in the store without a
 * session.
 */
const SWEEP_INTERVAL_MS = 300_000;
/**
 * Milliseconds between two reconciliations in normal operation: a partitioned node does not know that it is
 * one.
 */
const RECONCILE_INTERVAL_MS = 30_000;
/** Users per call of the store. */
const BATCH_SIZE = 500;
/** Accounts that a sweep checks at the same time, each under its lock. */
const MAX_CONCURRENT_LOCKS = 100;
/** The id of the lock on sweeping, which no user has: one node sweeps at a time. */
const SWEEP_LOCK_ID = 0;

/** The parts of a node that recovery uses. */
export interface RecoveryDeps {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: SessionRegistry;
  readonly presence: Presence;
  readonly cursors: Pick<CursorWriter, "flushUser">;
  readonly log: Log;
  readonly storeEpoch: { reportLoss(lostData: string): void };
}

/** A node's recovery from outages of the bus and of other nodes. */
export class Recovery {
  readonly #deps: RecoveryDeps;
  readonly #terminateSession: (session: Session, reason: SessionEndReason) => void;
  readonly #reconcileTask: BackgroundTask;
  readonly #sweepTask: BackgroundTask;
  readonly #refreshTask: BackgroundTask;
  readonly #recheckTask: BackgroundTask;
  readonly #confirmTask: BackgroundTask;
  /** Users of this node whose accounts were taken over, according to a hint of another node. */
  readonly #claimedUsers = new Set<number>();
  readonly #ignoredTakeovers = new LogThrottle(MINUTE_MS);
  readonly #timers: readonly ReturnType<typeof setInterval>[];
  #stopped = false;
  #isBusDown = false;
  #isNodeSilent = false;
  /** Whether another node may have ended logins of this node, because this node seemed to have crashed. */
  #reclaimPending = false;
  #pollTimer: ReturnType<typeof setInterval> | undefined;

  /**
   * `terminateSession` is called for sessions that a later login has replaced, and for those of deleted
   * accounts.
   */
  constructor(deps: RecoveryDeps, terminateSession: (session: Session, reason: SessionEndReason) => void) {
    this.#deps = deps;
    this.#terminateSession = terminateSession;
    const { presence } = deps;
    const task = (name: string, work: () => Promise<void>) => new BackgroundTask(name, work, deps.log);
    this.#reconcileTask = task("reconciling sessions with the database", () => this.#reconcile());
    this.#sweepTask = task("ending the logins of crashed nodes", () => this.#sweep());
    this.#refreshTask = task(
      "checking the presence of all friends",
      () => presence.refresh(() => this.#stopped),
    );
    this.#recheckTask = task("checking the presence of online friends", () => presence.recheckOnline());
    this.#confirmTask = task("confirming takeovers", () => this.#confirmTakeovers());
    this.#timers = [
      setInterval(() => this.#scheduleReconcile(), RECONCILE_INTERVAL_MS),
      setInterval(() => this.#sweepTask.schedule(), SWEEP_INTERVAL_MS),
    ];
  }

  /** Starts. The first sweep ends the logins that an earlier run of this node has left. */
  start(): void {
    this.#sweepTask.schedule();
  }

  /** Whether the bus is unavailable: between {@link onBusDown} and {@link onBusUp}. */
  get isBusDown(): boolean {
    return this.#isBusDown;
  }

  /** Polls the store until {@link onBusUp}. */
  onBusDown(error: Error): void {
    if (this.#stopped) return;
    this.#deps.log.info("polling the database until the other nodes can be reached", { error });
    this.#isBusDown = true;
    this.#updatePolling();
  }

  /** Ends the polling, and makes up for the hints that were lost during the outage. */
  onBusUp(): void {
    this.#isBusDown = false;
    this.#updatePolling();
    this.#scheduleReconcile();
    this.#refreshTask.schedule(REJOIN_GRACE_MS);
    this.#sweepTask.schedule(REJOIN_GRACE_MS);
  }

  /**
   * Makes up for hints of a node that has joined or rejoined. This node may not know which of its users are
   * online. During a partition it may have committed messages, and begun logins of this node's users.
   */
  onNodeJoined(): void {
    this.#scheduleReconcile();
    this.#refreshTask.schedule();
  }

  /**
   * Polls the store while another node is silent, in place of the hints of that node. A node is silent if its
   * heartbeats are missing, or if it has vanished from the bus and may still run.
   */
  onNodeSilent(isSilent: boolean): void {
    if (this.#stopped) return;
    this.#deps.log.info(
      isSilent ? "another node is silent: polling the database" : "no other node is silent",
    );
    this.#isNodeSilent = isSilent;
    this.#updatePolling();
    this.#scheduleReconcile();
  }

  /**
   * Checks the hint that a user of this node has begun a later login on another node. While the store is
   * unavailable the session goes on: the store rejects its writes to anything that belongs to the later
   * login.
   */
  onTakeover(user: number): void {
    this.#claimedUsers.add(user);
    this.#confirmTask.schedule();
  }

  /** Schedules a sweep for a login that may have begun in the store without a session. */
  onUncertainLogin(): void {
    this.#sweepTask.schedule(REJOIN_GRACE_MS);
  }

  /**
   * Makes up for a node that has left or crashed. Finds the messages that it committed without a hint, and
   * its users, who are offline now. The store has them as online until a later sweep, because many of them
   * reconnect at once and must not find their accounts locked.
   */
  onNodeLeft(): void {
    this.#deps.log.info("another node has left");
    this.#recheckTask.schedule();
    this.#scheduleReconcile();
    this.#sweepTask.schedule(REJOIN_GRACE_MS);
  }

  /** Stops all tasks. Resolves when no run is in progress. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timers.forEach(clearInterval);
    clearInterval(this.#pollTimer);
    const tasks = [
      this.#reconcileTask,
      this.#sweepTask,
      this.#refreshTask,
      this.#recheckTask,
      this.#confirmTask,
    ];
    await Promise.all(tasks.map((task) => task.stop()));
  }

  /** Releases the claimed accounts for which the store has a later login. */
  async #confirmTakeovers(): Promise<void> {
    const { store, sessions, log } = this.#deps;
    while (this.#claimedUsers.size > 0 && !this.#stopped) {
      const batch = [...this.#claimedUsers].slice(0, BATCH_SIZE);
      for (const user of batch) this.#claimedUsers.delete(user); // a claim from now on is checked once more
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

  /**
   * Ends a session that was replaced. The store gets its cursors first: the next node loads the unread by
   * them.
   */
  async #releaseSession(session: Session): Promise<void> {
    await this.#deps.cursors.flushUser(session.user);
    this.#terminateSession(session, "replaced");
  }

  /** Reconciles at once, and reclaims accounts as soon as the bus is available. */
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
   * Ends sessions that were replaced without a hint. Lets the other sessions load their unread messages. With
   * `reclaims`, also sets the accounts of the other sessions to online in the store.
   */
  async #reconcileUsers(reclaims: boolean): Promise<void> {
    const { store, sessions, presence } = this.#deps;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length && !this.#stopped; i += BATCH_SIZE) {
      const batch = users.slice(i, i + BATCH_SIZE);
      const latestEpochs = await store.latestLoginEpochs(batch);
      for (const user of batch) {
        const session = sessions.get(user);
        if (session && !latestEpochs.has(user)) this.#terminateSession(session, "account_deleted");
      }
      for (const [user, epoch] of latestEpochs) {
        const session = sessions.get(user);
        if (!session || session.loginEpoch === epoch) continue;
        if (session.loginEpoch > epoch) {
          this.#deps.storeEpoch.reportLoss(`the login of user ${user}`);
          return;
        }
        this.#terminateSession(session, "replaced");
        presence.announce(user); // the later login may have no session
        this.onUncertainLogin();
      }
      if (reclaims) await store.reclaimAccounts(this.#loginsOf(batch));
      for (const user of await store.usersWithUnread(batch)) sessions.get(user)?.delivery.requestResync();
    }
  }

  /** Starts or stops the polling: it goes on as long as hints may be lost. */
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

  /** Ends the logins of users who are online in the store and not on the bus. */
  async #sweep(): Promise<void> {
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

  /**
   * Ends a login unless its user is online on the bus. The lock excludes a login that has only begun in the
   * store.
   */
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
