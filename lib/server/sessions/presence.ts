/**
 * The presence of users: sends each session the states of its friends. A notification only names a user whose
 * state may have changed. The node that receives it asks the bus for the state. So the last state that a
 * client gets is right, however often the user logs in and out.
 */
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log.ts";
import type { Store } from "../../store/store.ts";
import { BackgroundTask } from "../scheduling/background_task.ts";
import type { SessionRegistry } from "./session_registry.ts";

/** Followers per call of the store, so that the memory for a user with many followers is bounded. */
const FOLLOWER_BATCH_SIZE = 1_000;
/** Users per question to the bus. */
const USER_BATCH_SIZE = 1_000;
/** Sessions whose friends one call of the store returns: at most 100,000 rows, and usually far fewer. */
const SESSION_BATCH_SIZE = 100;
/** Users that are announced at the same time: after an outage of the store many may wait. */
const MAX_CONCURRENT_ANNOUNCEMENTS = 32;
/** Users that wait for their announcement. Beyond that an announcement is dropped. */
const MAX_PENDING = 100_000;

/** The parts of a node that presence uses. */
export interface PresenceDeps {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: SessionRegistry;
  readonly log: Log;
}

/** Sends the sessions of this node the states of their friends. */
export class Presence {
  readonly #deps: PresenceDeps;
  readonly #maxPending: number;
  /** Users whose followers have not been notified yet. */
  readonly #pending = new Set<number>();
  readonly #announceTask: BackgroundTask;
  /** Users whose state may have changed, each with its followers on this node. */
  readonly #changed = new Map<number, Set<number>>();
  #checking: Promise<void> | undefined;

  /** `maxPending` is the most users that wait for their announcement. */
  constructor(deps: PresenceDeps, maxPending = MAX_PENDING) {
    this.#deps = deps;
    this.#maxPending = maxPending;
    this.#announceTask = new BackgroundTask(
      "announcing logins and logouts",
      () => this.#announceAll(),
      deps.log,
    );
  }

  /** Notifies the followers on all nodes that a user's state has changed, as soon as the store lists them. */
  announce(user: number): void {
    if (this.#pending.size < this.#maxPending) this.#pending.add(user);
    this.#announceTask.schedule();
  }

  /** Checks the state of a user, which may have changed, for a follower on this node. */
  onChanged(user: number, follower: number): void {
    this.#addChanged(user, follower);
    this.#check().catch(() => {});
  }

  /**
   * Checks the states of all users that clients of this node see as online. The users of a crashed node have
   * gone offline without an announcement. Rejects as the bus does.
   */
  async recheckOnline(): Promise<void> {
    for (const { user, presenceSent } of this.#deps.sessions) {
      for (const friend of presenceSent) this.#addChanged(friend, user);
    }
    await this.#check();
  }

  /** Checks the states of all friends of all sessions. Rejects as the store and the bus do. */
  async refresh(isStopped: () => boolean): Promise<void> {
    const { store, sessions } = this.#deps;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length && !isStopped(); i += SESSION_BATCH_SIZE) {
      for (const { user, friend } of await store.friendsOf(users.slice(i, i + SESSION_BATCH_SIZE))) {
        this.#addChanged(friend, user);
      }
      await this.#check();
    }
  }

  /** Stops the announcements. Resolves when none is in progress. */
  async stop(): Promise<void> {
    await this.#announceTask.stop();
  }

  async #announceAll(): Promise<void> {
    while (this.#pending.size > 0) {
      const batch = [...this.#pending].slice(0, MAX_CONCURRENT_ANNOUNCEMENTS);
      for (const user of batch) this.#pending.delete(user); // a change from now on is announced once more
      await Promise.all(batch.map((user) =>
        this.#notifyFollowers(user).catch((error) => {
          this.#pending.add(user);
          throw error;
        })
      ));
    }
  }

  async #notifyFollowers(user: number): Promise<void> {
    const { store, bus, sessions } = this.#deps;
    for (let after = 0;;) {
      const followers = await store.followers(user, after, FOLLOWER_BATCH_SIZE);
      for (const follower of followers) {
        // The session on this node may be an old one, which a session on another node has just replaced.
        if (sessions.get(follower)) this.onChanged(user, follower);
        bus.publish(follower, { kind: "presence", user });
      }
      if (followers.length < FOLLOWER_BATCH_SIZE) return;
      after = followers.at(-1)!;
    }
  }

  #addChanged(user: number, follower: number): void {
    const followers = this.#changed.get(user);
    if (followers) followers.add(follower);
    else this.#changed.set(user, new Set([follower]));
  }

  /** Checks all users in #changed. One check runs at a time, so that the last result counts. */
  #check(): Promise<void> {
    return this.#checking ??= this.#checkAll().finally(() => {
      this.#checking = undefined;
      if (this.#changed.size > 0) this.#check().catch(() => {}); // added during the check
    });
  }

  async #checkAll(): Promise<void> {
    await undefined; // changes of one event-loop turn are asked for together
    const { bus, sessions } = this.#deps;
    while (this.#changed.size > 0) {
      const batch = [...this.#changed].slice(0, USER_BATCH_SIZE);
      for (const [user] of batch) this.#changed.delete(user);
      const online = await bus.online(batch.map(([user]) => user)).catch((error) => {
        this.#changed.clear(); // all users are checked when the bus is available again
        throw error;
      });
      for (const [user, followers] of batch) {
        for (const follower of followers) sessions.get(follower)?.pushPresence(user, online.has(user));
      }
    }
  }
}
