/**
 * Which friends of a user are online. That a user came or went is only a hint to look: a node that is told of
 * it asks the bus, so that the last word is right however often and wherever the user comes and goes
 * meanwhile.
 */
import type { Bus } from "../../bus/bus.ts";
import type { Log } from "../../log.ts";
import type { Store } from "../../store/store.ts";
import { Duty } from "../recovery/background_task.ts";
import type { Sessions } from "./session_registry.ts";

const WATCHERS = 1_000; // user ids fetched at once: a celebrity's are never all in memory
const USERS = 1_000; // users asked about at once
const SESSIONS = 100; // sessions whose friends are fetched at once: at most 100,000 rows, mostly far fewer
const ANNOUNCED = 32; // users announced at once: after an outage of the store there may be many
const UNTOLD = 100_000; // users whose coming or going waits to be told; of more than that it isn't

/** What presence is found out and told with. */
export interface PresencePorts {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: Sessions;
  readonly log: Log;
}

/** Tells the sessions of this node about their users' friends. */
export class Presence {
  readonly #ports: PresencePorts;
  readonly #most: number;
  /** Who came or went, and whom it concerns has not been told. */
  readonly #untold = new Set<number>();
  readonly #announcing: Duty;
  /** Who may have come or gone, and who of those here has them as friends. */
  readonly #changed = new Map<number, Set<number>>();
  #looking: Promise<void> | undefined;

  /** At most `most` users wait for being told of. */
  constructor(ports: PresencePorts, most = UNTOLD) {
    this.#ports = ports;
    this.#most = most;
    this.#announcing = new Duty("telling who came and went", () => this.#announceAll(), ports.log);
  }

  /** Tells all followers, here and elsewhere, that a user came or went, as soon as the store names them. */
  announce(user: number): void {
    if (this.#untold.size < this.#most) this.#untold.add(user);
    this.#announcing.fallDue();
  }

  /** A user whom `watcher`, who is logged in here, has as a friend may have come or gone. */
  changed(user: number, watcher: number): void {
    this.#note(user, watcher);
    this.#look().catch(() => {});
  }

  /**
   * Looks again at all who are shown as online here, as some may be gone without a word. Rejects as the bus
   * does.
   */
  async recheck(): Promise<void> {
    for (const { user, shown } of this.#ports.sessions) for (const friend of shown) this.#note(friend, user);
    await this.#look();
  }

  /** Looks again at all friends of all who are here. Rejects as the store and the bus do. */
  async refresh(stopped: () => boolean): Promise<void> {
    const { store, sessions } = this.#ports;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length && !stopped(); i += SESSIONS) {
      for (const { user, friend } of await store.friendsOf(users.slice(i, i + SESSIONS))) {
        this.#note(friend, user);
      }
      await this.#look();
    }
  }

  /** Announces no more. Resolves when nothing is in progress. */
  async stop(): Promise<void> {
    await this.#announcing.stop();
  }

  async #announceAll(): Promise<void> {
    while (this.#untold.size > 0) {
      const some = [...this.#untold].slice(0, ANNOUNCED);
      for (const user of some) this.#untold.delete(user); // who comes or goes from now on is told once more
      await Promise.all(some.map((user) =>
        this.#announce(user).catch((error) => {
          this.#untold.add(user);
          throw error;
        })
      ));
    }
  }

  async #announce(user: number): Promise<void> {
    const { store, bus, sessions } = this.#ports;
    for (let after = 0;;) {
      const watchers = await store.watchers(user, after, WATCHERS);
      for (const watcher of watchers) {
        // The session here may be an old one that hasn't heard yet of the one that has followed it elsewhere.
        if (sessions.of(watcher)) this.changed(user, watcher);
        bus.publish(watcher, { kind: "presence", user });
      }
      if (watchers.length < WATCHERS) return;
      after = watchers.at(-1)!;
    }
  }

  #note(user: number, watcher: number): void {
    const watchers = this.#changed.get(user);
    if (watchers) watchers.add(watcher);
    else this.#changed.set(user, new Set([watcher]));
  }

  /** Looks at all that has been noted: one look at a time, so that the last one has the last word. */
  #look(): Promise<void> {
    return this.#looking ??= this.#lookAtAll().finally(() => {
      this.#looking = undefined;
      if (this.#changed.size > 0) this.#look().catch(() => {}); // noted just now
    });
  }

  async #lookAtAll(): Promise<void> {
    await undefined; // all that is heard of in one turn is asked together
    const { bus, sessions } = this.#ports;
    while (this.#changed.size > 0) {
      const some = [...this.#changed].slice(0, USERS);
      for (const [user] of some) this.#changed.delete(user);
      const online = await bus.online(some.map(([user]) => user)).catch((error) => {
        this.#changed.clear(); // all users are looked at when the bus is back
        throw error;
      });
      for (const [user, watchers] of some) {
        for (const watcher of watchers) sessions.of(watcher)?.tellPresence(user, online.has(user));
      }
    }
  }
}
