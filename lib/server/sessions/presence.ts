/**
 * Which friends of a user are online. That a user came or went is only a hint to look: a node that is told of
 * it asks the bus, so that the last word is right however often and wherever the user comes and goes
 * meanwhile.
 */
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log.ts";
import type { Store } from "../../store/store.ts";
import { BackgroundTask } from "../scheduling/background_task.ts";
import type { SessionRegistry } from "./session_registry.ts";

const FOLLOWER_BATCH_SIZE = 1_000; // user ids fetched at once: a celebrity's are never all in memory
const USER_BATCH_SIZE = 1_000; // users asked about at once
const SESSION_BATCH_SIZE = 100; // sessions whose friends are fetched at once: at most 100,000 rows, mostly far fewer
const MAX_CONCURRENT_ANNOUNCEMENTS = 32; // users announced at once: after an outage of the store there may be many
const MAX_PENDING = 100_000; // users whose coming or going waits to be told; of more than that it isn't

/** What presence is found out and told with. */
export interface PresenceDeps {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: SessionRegistry;
  readonly log: Log;
}

/** Tells the sessions of this node about their users' friends. */
export class Presence {
  readonly #deps: PresenceDeps;
  readonly #maxPending: number;
  /** Who came or went, and whom it concerns has not been told. */
  readonly #pending = new Set<number>();
  readonly #announceTask: BackgroundTask;
  /** Who may have come or gone, and who of those here has them as friends. */
  readonly #changed = new Map<number, Set<number>>();
  #checking: Promise<void> | undefined;

  /** At most `most` users wait for being told of. */
  constructor(deps: PresenceDeps, maxPending = MAX_PENDING) {
    this.#deps = deps;
    this.#maxPending = maxPending;
    this.#announceTask = new BackgroundTask("telling who came and went", () => this.#announceAll(), deps.log);
  }

  /** Tells all followers, here and elsewhere, that a user came or went, as soon as the store names them. */
  announce(user: number): void {
    if (this.#pending.size < this.#maxPending) this.#pending.add(user);
    this.#announceTask.schedule();
  }

  /** A user whom `watcher`, who is logged in here, has as a friend may have come or gone. */
  onChanged(user: number, follower: number): void {
    this.#addChanged(user, follower);
    this.#check().catch(() => {});
  }

  /**
   * Looks again at all who are shown as online here, as some may be gone without a word. Rejects as the bus
   * does.
   */
  async recheckOnline(): Promise<void> {
    for (const { user, presenceSent } of this.#deps.sessions) {
      for (const friend of presenceSent) this.#addChanged(friend, user);
    }
    await this.#check();
  }

  /** Looks again at all friends of all who are here. Rejects as the store and the bus do. */
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

  /** Announces no more. Resolves when nothing is in progress. */
  async stop(): Promise<void> {
    await this.#announceTask.stop();
  }

  async #announceAll(): Promise<void> {
    while (this.#pending.size > 0) {
      const batch = [...this.#pending].slice(0, MAX_CONCURRENT_ANNOUNCEMENTS);
      for (const user of batch) this.#pending.delete(user); // who comes or goes from now on is told once more
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
        // The session here may be an old one that hasn't heard yet of the one that has followed it elsewhere.
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

  /** Looks at all that has been noted: one look at a time, so that the last one has the last word. */
  #check(): Promise<void> {
    return this.#checking ??= this.#checkAll().finally(() => {
      this.#checking = undefined;
      if (this.#changed.size > 0) this.#check().catch(() => {}); // noted just now
    });
  }

  async #checkAll(): Promise<void> {
    await undefined; // all that is heard of in one turn is asked together
    const { bus, sessions } = this.#deps;
    while (this.#changed.size > 0) {
      const batch = [...this.#changed].slice(0, USER_BATCH_SIZE);
      for (const [user] of batch) this.#changed.delete(user);
      const online = await bus.online(batch.map(([user]) => user)).catch((error) => {
        this.#changed.clear(); // all users are looked at when the bus is back
        throw error;
      });
      for (const [user, followers] of batch) {
        for (const follower of followers) sessions.get(follower)?.pushPresence(user, online.has(user));
      }
    }
  }
}
