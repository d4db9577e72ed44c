/** One node: the parts that all its connections share. */
import { type Bus, BusUnavailableError, type Channel, type Hint } from "../bus/bus.ts";
import type { Config } from "../config/options.ts";
import { describeError, type Log, LogThrottle } from "../log.ts";
import type { Peer, Store, StoredMessage } from "../store/store.ts";
import { RateLimiters } from "./limits/rate_limiter.ts";
import { LoginThrottle } from "./limits/login_throttle.ts";
import { BULK, LOGINS, PAGES, UNPACED_BULK } from "./scheduling/classes.ts";
import { EventLoop } from "./scheduling/event_loop.ts";
import { CursorWriter } from "./delivery/cursor_writer.ts";
import { CommittedMessage } from "./delivery/delivery.ts";
import { FanOut } from "./delivery/fan_out.ts";
import { StoreEpoch } from "./recovery/store_epoch.ts";
import { BackgroundTask } from "./scheduling/background_task.ts";
import { LogoutBatch } from "./sessions/logout_batch.ts";
import { hashConcurrency, PasswordHasher } from "../passwords/password_hasher.ts";
import { KnownPlaces } from "./limits/known_places.ts";
import { WorkQueue } from "./scheduling/work_queue.ts";
import { Presence } from "./sessions/presence.ts";
import { Recovery } from "./recovery/recovery.ts";
import { rehashAll } from "./recovery/password_rehash.ts";
import type { Session, SessionEndReason } from "./sessions/session.ts";
import { SessionRegistry } from "./sessions/session_registry.ts";
import { StorageQuota } from "./limits/storage_quota.ts";
import { newHashCost, StoredPasswords } from "./sessions/stored_passwords.ts";
import { Semaphore } from "./scheduling/semaphore.ts";

/** The parts that a node is given. */
export interface NodeDeps {
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly bus: Bus;
  /** The time, in milliseconds since 1970, UTC. */
  readonly now: () => number;
}

/** Ends a session, and its connection, for a reason that the client is told. */
export type TerminateSession = (session: Session, reason: SessionEndReason) => void;

/** A node of the cluster, or the only one. */
export class Node implements NodeDeps {
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly bus: Bus;
  readonly now: () => number;
  readonly sessions: SessionRegistry;
  readonly fanOut: FanOut;
  readonly cursors: CursorWriter;
  readonly logoutBatch: LogoutBatch;
  readonly presence: Presence;
  readonly recovery: Recovery;
  readonly storeEpoch: StoreEpoch;
  readonly passwords: PasswordHasher;
  readonly storedPasswords: StoredPasswords;
  readonly eventLoop = new EventLoop();
  /** Bounds the logins that use the store; see {@link LOGINS}. */
  readonly loginSemaphore = new Semaphore(LOGINS.concurrency);
  /** Bounds the requests for pages; see {@link PAGES}. */
  readonly pageSemaphore = new Semaphore(PAGES.concurrency);
  /** Requests beyond the committed rate, backlogs and frequent logins; see {@link BULK}. */
  readonly bulkQueue: WorkQueue;
  readonly loginThrottle: LoginThrottle;
  /** The addresses and devices of earlier logins. */
  readonly knownPlaces = new KnownPlaces();
  readonly rateLimiters: RateLimiters;
  readonly storageQuota: StorageQuota;
  /** For errors that may repeat with every request. */
  readonly failureLog = new LogThrottle();
  readonly #rehash: BackgroundTask;
  #isClosing = false;

  constructor(deps: NodeDeps, terminateSession: TerminateSession) {
    this.config = deps.config;
    this.log = deps.log;
    this.store = deps.store;
    this.bus = deps.bus;
    this.now = deps.now;
    this.bulkQueue = new WorkQueue(this.eventLoop, this.config.messageRate > 0 ? BULK : UNPACED_BULK);
    this.sessions = new SessionRegistry(this.bus);
    this.fanOut = new FanOut(this);
    this.cursors = new CursorWriter(this.store, this.log);
    this.logoutBatch = new LogoutBatch(this.store, this.log);
    this.presence = new Presence(this);
    this.storeEpoch = new StoreEpoch(this, () => this.#discardState(terminateSession));
    this.recovery = new Recovery(this, terminateSession);
    const { hashQueue, workers } = this.config;
    this.passwords = new PasswordHasher(newHashCost(this.config), hashConcurrency(workers), hashQueue);
    this.storedPasswords = new StoredPasswords(this.log, this.config);
    this.loginThrottle = new LoginThrottle(this.bus, this.config);
    this.rateLimiters = new RateLimiters(this.config);
    this.storageQuota = new StorageQuota(this.bus, this.config.dailyBytes);
    this.#rehash = new BackgroundTask(
      "hashing passwords",
      () => rehashAll(this, () => this.#isClosing),
      this.log,
    );
  }

  /** Checks that it can hash passwords, and subscribes to the other nodes. */
  async open(): Promise<void> {
    await this.passwords.start();
    await this.storeEpoch.open();
    await this.bus.open({
      onHint: (channel, hint) => this.#onNotification(channel, hint),
      onBusDown: (error) => this.recovery.onBusDown(error),
      onBusUp: () => this.recovery.onBusUp(),
      onNodeJoined: () => this.recovery.onNodeJoined(),
      onNodeLeft: () => this.recovery.onNodeLeft(),
      onSilenceChange: (isSilent) => this.recovery.onNodeSilent(isSilent),
    });
    await this.eventLoop.open().catch((error) => {
      this.log.warn("no self-pipe: clients wait longer while the node is busy", {
        error: describeError(error),
      });
    });
    this.recovery.start();
    this.#rehash.schedule();
  }

  /** Stops the background work, and writes all cursors and logouts that wait. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([
      this.recovery.stop(),
      this.storeEpoch.stop(),
      this.#rehash.stop(),
      this.presence.stop(),
      this.fanOut.stop(),
      this.cursors.flush(),
      this.logoutBatch.flush(),
    ]);
    this.passwords[Symbol.dispose]();
    this.eventLoop[Symbol.dispose]();
  }

  /** Returns which of these users are online: on this node only, while the bus is unavailable. */
  async online(users: readonly number[]): Promise<ReadonlySet<number>> {
    try {
      return await this.bus.online(users);
    } catch (error) {
      if (!(error instanceof BusUnavailableError)) throw error;
      return new Set(users.filter((user) => this.sessions.get(user)));
    }
  }

  /** See {@link DeliveryDeps}. So a node finds a member whose "joined" hint was lost. */
  ensureJoined(user: number, group: number): void {
    const session = this.sessions.get(user);
    if (!session || session.groups.has(group)) return;
    this.onGroupJoined(user, group).catch(() => {}); // the bus is being closed
  }

  /** Delivers the group's messages to the session of a user who has become a member, wherever it is. */
  async onGroupJoined(user: number, group: number): Promise<void> {
    const session = this.sessions.get(user);
    if (!session) return this.bus.publish(user, { kind: "joined", group });
    await this.sessions.join(session, group);
    // Messages committed between the join and the subscription did not come as hints (invariant I3).
    session.delivery.requestResync();
  }

  /** Delivers a message to all its recipients, on all nodes. It must be committed (invariant I3). */
  deliver(session: Session, peer: Peer, message: StoredMessage): void {
    const committed = new CommittedMessage(message, peer);
    if (peer > 0) {
      session.delivery.deliver(peer, committed);
      this.#deliverToUser(session, peer, committed);
    } else this.#deliverToGroup(-peer, committed);
  }

  /**
   * Delivers a message again after a retry by its sender: the node that committed it may have crashed before
   * it delivered it.
   */
  async redeliver(session: Session, peer: Peer, seq: number): Promise<void> {
    try {
      const { messages: [message] } = await this.store.read(session.user, peer, seq - 1, 1, 1);
      if (!message) return;
      const committed = new CommittedMessage(message, peer);
      if (peer > 0) this.#deliverToUser(session, peer, committed);
      else this.#deliverToGroup(-peer, committed, session.user);
    } catch (error) {
      this.log.debug("repeated message not delivered again", { error: describeError(error) });
    }
  }

  /** See {@link DeliveryDeps}. */
  reportLostMessages(user: number, peer: Peer): void {
    this.storeEpoch.reportLoss(`messages of user ${user} with ${peer}`);
  }

  /** Drops all state of another history: writes on their way to the store, and sessions. */
  #discardState(terminateSession: TerminateSession): void {
    this.fanOut.clear();
    this.cursors.clear();
    this.logoutBatch.clear();
    for (const session of [...this.sessions]) terminateSession(session, "store_restored");
  }

  #deliverToUser(session: Session, user: number, committed: CommittedMessage): void {
    const recipient = this.sessions.get(user);
    if (recipient) recipient.delivery.deliver(session.user, committed);
    else this.bus.publish(user, { kind: "message", message: committed.message });
  }

  /** Delivers a message to the members of a group, on all nodes. The user `except` does not get it. */
  #deliverToGroup(group: number, committed: CommittedMessage, except?: number): void {
    this.fanOut.add(group, committed, except);
    this.bus.publish(-group, { kind: "message", message: committed.message });
  }

  #onNotification(channel: Channel, notification: Hint): void {
    if (channel < 0) {
      if (notification.kind === "message") {
        this.fanOut.add(-channel, new CommittedMessage(notification.message, channel));
      } else if (notification.kind === "resync") {
        for (const member of this.sessions.groupMembers(-channel)) member.delivery.requestResync();
      }
      return;
    }
    const session = this.sessions.get(channel);
    if (!session) return;
    if (notification.kind === "message") {
      this.store.noteCommitted?.(channel, notification.message);
      session.delivery.deliver(
        notification.message.sender,
        new CommittedMessage(notification.message, channel),
      );
    } else if (notification.kind === "resync") session.delivery.requestResync();
    else if (notification.kind === "joined") void this.#onJoinedElsewhere(channel, notification.group);
    else if (notification.kind === "presence") this.presence.onChanged(notification.user, channel);
    else if (session.loginEpoch < notification.loginEpoch) this.recovery.onTakeover(channel);
    // Another node was given the epoch of this session: the store has lost the login.
    else if (session.loginEpoch === notification.loginEpoch) {
      this.storeEpoch.reportLoss(`the login of user ${channel}`);
    }
  }

  /** Handles a hint that the user has become a member of a group, if the store confirms it. */
  async #onJoinedElsewhere(user: number, group: number): Promise<void> {
    try {
      if (!("refused" in await this.store.members(user, group, 0, 1))) await this.onGroupJoined(user, group);
    } catch (error) {
      this.log.debug("joining not confirmed", { error: describeError(error) });
      this.sessions.get(user)?.delivery.requestResync(); // it finds the group by its next message
    }
  }
}
