/** One node: what all its connections share. */
import { type Bus, BusUnavailable, type Channel, type Hint } from "../bus/bus.ts";
import type { Config } from "../config/options.ts";
import { describe, type Log, Seldom } from "../log.ts";
import type { Peer, Store, StoredMessage } from "../store/store.ts";
import { Allowances } from "./limits/rate_limiter.ts";
import { Attempts } from "./limits/login_throttle.ts";
import { Breaks } from "./scheduling/event_loop.ts";
import { Cursors } from "./delivery/cursor_writer.ts";
import { Fresh } from "./delivery/delivery.ts";
import { Epoch } from "./recovery/store_epoch.ts";
import { Duty } from "./recovery/background_task.ts";
import { Departures } from "./sessions/logout_batch.ts";
import { hashThreads, Passwords } from "../passwords/password_hasher.ts";
import { KnownPlaces } from "./limits/known_places.ts";
import { Lane } from "./scheduling/lane.ts";
import { Presence } from "./sessions/presence.ts";
import { Recovery } from "./recovery/recovery.ts";
import { rehashAll } from "./recovery/password_rehash.ts";
import type { Session } from "./sessions/session.ts";
import { Sessions } from "./sessions/session_registry.ts";
import { StorageQuota } from "./limits/storage_quota.ts";
import { StoredPasswords } from "./sessions/stored_passwords.ts";
import { Turns } from "./scheduling/semaphore.ts";

/**
 * Logins that ask the store at once: enough to keep its connections busy and its batches large, and few
 * enough for each to be done in a moment. Not those that wait for an account's lock or for another node:
 * these hold up no other.
 */
const LOGINS_AT_ONCE = 100;

/**
 * Large answers that are worked on at once: each keeps the event loop and the embedded store for
 * milliseconds.
 */
const PAGES_AT_ONCE = 2;

/** What a node is made of. */
export interface NodeParts {
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly bus: Bus;
  /** The time, in milliseconds since 1970, UTC. */
  readonly now: () => number;
}

/** How sessions are ended that are over without having asked for it. */
export interface SessionEnds {
  /** The user has logged in on another node instead. */
  takenOver(session: Session): void;
  /** The store's history is another one. */
  restored(session: Session): void;
  /** The account is gone. */
  vanished(session: Session): void;
}

/** A node of the cluster, or all there is of it. */
export class Node implements NodeParts {
  readonly config: Config;
  readonly log: Log;
  readonly store: Store;
  readonly bus: Bus;
  readonly now: () => number;
  readonly sessions: Sessions;
  readonly cursors: Cursors;
  readonly departures: Departures;
  readonly presence: Presence;
  readonly recovery: Recovery;
  readonly epoch: Epoch;
  readonly passwords: Passwords;
  readonly storedPasswords: StoredPasswords;
  /** Yields to all work that is ready. */
  readonly breaks = new Breaks();
  /** Logins take turns. */
  readonly logins = new Turns(LOGINS_AT_ONCE);
  /** So do large answers. */
  readonly pages = new Turns(PAGES_AT_ONCE);
  /** And so do the requests of clients that ask for more than others do. */
  readonly lane: Lane;
  readonly attempts: Attempts;
  /** From where users have logged in before. */
  readonly places = new KnownPlaces();
  /** How much its clients may ask for. */
  readonly allowances: Allowances;
  /** How much its users may store. */
  readonly storageQuota: StorageQuota;
  /** For what goes wrong with every request while it goes wrong. */
  readonly failures = new Seldom();
  readonly #rehash: Duty;
  #closing = false;

  constructor(parts: NodeParts, { takenOver, restored, vanished }: SessionEnds) {
    this.config = parts.config;
    this.log = parts.log;
    this.store = parts.store;
    this.bus = parts.bus;
    this.now = parts.now;
    this.lane = new Lane(this.breaks);
    this.sessions = new Sessions(this.bus);
    this.cursors = new Cursors(this.store, this.log);
    this.departures = new Departures(this.store, this.log);
    this.presence = new Presence(this);
    this.epoch = new Epoch(this, () => this.#forget(restored));
    this.recovery = new Recovery(this, takenOver, vanished);
    const { scryptLn: ln, scryptR: r, scryptP: p, hashQueue, workers } = this.config;
    this.passwords = new Passwords({ ln, r, p }, hashThreads(workers), hashQueue);
    this.storedPasswords = new StoredPasswords(this.log, this.config.acceptPlainPasswords === "yes", {
      ln,
      r,
      p,
    });
    this.attempts = new Attempts(this.bus, this.config);
    this.allowances = new Allowances(this.config);
    this.storageQuota = new StorageQuota(this.bus, this.config.dailyBytes);
    this.#rehash = new Duty("hashing passwords", () => rehashAll(this, () => this.#closing), this.log);
  }

  /** Starts its threads, and to listen to the other nodes. */
  async open(): Promise<void> {
    await this.passwords.start();
    await this.epoch.open();
    await this.bus.open({
      receive: (channel, hint) => this.#receive(channel, hint),
      down: (why) => this.recovery.down(why),
      up: () => this.recovery.up(),
      came: () => this.recovery.came(),
      gone: () => this.recovery.gone(),
      silent: (isSilent) => this.recovery.silent(isSilent),
    });
    await this.breaks.open().catch((error) => {
      this.log.warn("no connection to itself: when many come at once they wait longer", {
        why: describe(error),
      });
    });
    this.recovery.start();
    this.#rehash.fallDue();
  }

  /** Waits for what is under way without a connection, and writes what waits. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all([
      this.recovery.stop(),
      this.epoch.stop(),
      this.#rehash.stop(),
      this.presence.stop(),
      this.cursors.flush(),
      this.departures.flush(),
    ]);
    this.passwords[Symbol.dispose]();
    this.breaks[Symbol.dispose]();
  }

  /**
   * Which of these users are online, as far as can be told: while the bus is away, those who are logged in
   * here.
   */
  async online(users: readonly number[]): Promise<ReadonlySet<number>> {
    try {
      return await this.bus.online(users);
    } catch (error) {
      if (!(error instanceof BusUnavailable)) throw error;
      return new Set(users.filter((user) => this.sessions.of(user)));
    }
  }

  /** As {@link DeliveryPorts} has it. */
  get catchingUp(): Lane | undefined {
    return this.config.messageRate > 0 ? this.lane : undefined;
  }

  /** The same: a joining whose answer was lost is found out like this. */
  memberOf(user: number, group: number): void {
    const session = this.sessions.of(user);
    if (session) this.sessions.join(session, group).catch(() => {}); // the bus is being closed
  }

  /**
   * A session's user has become a member of a group: whichever session it has now is offered the group's
   * messages.
   */
  async joined(user: number, group: number): Promise<void> {
    const session = this.sessions.of(user);
    if (!session) return this.bus.publish(user, { kind: "joined", group });
    await this.sessions.join(session, group);
    // What was said between the joining and the subscribing has passed us by (invariant I3).
    session.delivery.lookAgain();
  }

  /**
   * Offers a committed message (never one that isn't: invariant I3) to all whom it concerns, here and
   * elsewhere.
   */
  deliver(session: Session, peer: Peer, message: StoredMessage): void {
    const fresh = new Fresh(message, peer);
    session.delivery.offer(peer, fresh);
    this.#offer(session, peer, fresh);
  }

  /**
   * Offers a message to the others that the sender has sent once more: perhaps a node committed it and
   * crashed before it could tell the others.
   */
  async deliverAgain(session: Session, peer: Peer, seq: number): Promise<void> {
    try {
      const { messages: [message] } = await this.store.read(session.user, peer, seq - 1, 1, 1);
      if (message) this.#offer(session, peer, new Fresh(message, peer));
    } catch (error) {
      this.log.debug("repeated message not delivered again", { why: describe(error) });
    }
  }

  /** As {@link DeliveryPorts} has it. */
  lost(user: number, peer: Peer): void {
    this.epoch.reportLoss(`messages of user ${user} with ${peer}`);
  }

  /** What is on its way to the store is of another history, and so is what sessions believe. */
  #forget(restored: (session: Session) => void): void {
    this.cursors.clear();
    this.departures.clear();
    for (const session of [...this.sessions]) restored(session);
  }

  #offer(session: Session, peer: Peer, fresh: Fresh): void {
    const { message } = fresh;
    if (peer > 0) {
      const recipient = this.sessions.of(peer);
      if (recipient) recipient.delivery.offer(session.user, fresh);
      else this.bus.publish(peer, { kind: "message", message });
    } else {
      const began = performance.now();
      for (const member of this.sessions.inGroup(-peer)) {
        if (member !== session) member.delivery.offer(peer, fresh);
      }
      this.lane.spent(performance.now() - began);
      this.bus.publish(peer, { kind: "message", message });
    }
  }

  #receive(channel: Channel, hint: Hint): void {
    if (channel < 0) {
      const members = this.sessions.inGroup(-channel);
      if (hint.kind === "message") {
        const fresh = new Fresh(hint.message, channel);
        for (const member of members) member.delivery.offer(channel, fresh);
      } else if (hint.kind === "look") {
        for (const member of members) member.delivery.lookAgain();
      }
      return;
    }
    const session = this.sessions.of(channel);
    if (!session) return;
    if (hint.kind === "message") {
      session.delivery.offer(hint.message.sender, new Fresh(hint.message, channel));
    } else if (hint.kind === "look") session.delivery.lookAgain();
    else if (hint.kind === "joined") void this.#joinedElsewhere(channel, hint.group);
    else if (hint.kind === "presence") this.presence.changed(hint.user, channel);
    else if (session.login < hint.login) this.recovery.claimed(channel);
    // Another node was given the number that this session has: the store has forgotten that it gave it out.
    else if (session.login === hint.login) this.epoch.reportLoss(`the login of user ${channel}`);
  }

  /** By a hint, the user has become a member of a group; the store has the last word. */
  async #joinedElsewhere(user: number, group: number): Promise<void> {
    try {
      if (!("refused" in await this.store.members(user, group, 0, 1))) await this.joined(user, group);
    } catch (error) {
      this.log.debug("joining not confirmed", { error: describe(error) });
      this.sessions.of(user)?.delivery.lookAgain(); // which finds the group by its next message
    }
  }
}
