/**
 * Who of somebody's friends is there. That a user came or went is only a hint to look: whoever is told of it asks the
 * bus, so that the last word is right however often and wherever the user comes and goes meanwhile.
 */
import type { Bus } from "../bus/bus.ts";
import { describe, type Log } from "../log.ts";
import type { Store } from "../store/store.ts";
import type { Sessions } from "./sessions.ts";

const WATCHERS = 1_000; // user ids fetched at once: a celebrity's are never all in memory
const USERS = 1_000; // users asked about at once
const SESSIONS = 100; // sessions whose friends are fetched at once: at most 100,000 rows, mostly far fewer

/** Somebody who may have come or gone, and one who is to be told. */
type Pair = readonly [user: number, watcher: number];

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
  /** Who may have come or gone, and who of those here has them as friends. */
  #changed = new Map<number, Set<number>>();
  #looking = false;

  constructor(ports: PresencePorts) {
    this.#ports = ports;
  }

  /** Lets everybody concerned know, here and elsewhere, that a user came or went. Never rejects. */
  async announce(user: number): Promise<void> {
    const { store, bus, sessions, log } = this.#ports;
    try {
      for (let after = 0;;) {
        const watchers = await store.watchers(user, after, WATCHERS);
        for (const watcher of watchers) {
          if (sessions.of(watcher)) this.changed(user, watcher);
          else bus.publish(watcher, { kind: "presence", user });
        }
        if (watchers.length < WATCHERS) return;
        after = watchers.at(-1)!;
      }
    } catch (error) {
      log.warn("presence not told", { user, why: describe(error) });
    }
  }

  /** A user whom `watcher`, who is logged in here, has as a friend may have come or gone. */
  changed(user: number, watcher: number): void {
    const watchers = this.#changed.get(user);
    if (watchers) watchers.add(watcher);
    else this.#changed.set(user, new Set([watcher]));
    if (!this.#looking) void this.#look();
  }

  /** Looks again at all who are shown as online here, as some may be gone without a word. */
  async recheck(): Promise<void> {
    const { sessions } = this.#ports;
    await this.#tell(
      [...sessions].flatMap(({ user, shown }) => [...shown].map((friend): Pair => [friend, user])),
    );
  }

  /** Looks again at all friends of all who are here, as some may have come and gone without a word. */
  async refresh(): Promise<void> {
    const { store, sessions } = this.#ports;
    const users = [...sessions].map(({ user }) => user);
    for (let i = 0; i < users.length; i += SESSIONS) {
      const pairs = await store.friendsOf(users.slice(i, i + SESSIONS));
      await this.#tell(pairs.map(({ user, friend }): Pair => [friend, user]));
    }
  }

  async #look(): Promise<void> {
    this.#looking = true;
    try {
      await undefined; // all that is heard of in one turn is asked together
      while (this.#changed.size > 0) {
        const changed = this.#changed;
        this.#changed = new Map();
        await this.#tell(
          [...changed].flatMap(([user, watchers]) => [...watchers].map((watcher): Pair => [user, watcher])),
        );
      }
    } catch (error) {
      // The bus is away; everybody is looked at when it is back.
      this.#ports.log.debug("presence not looked at", { why: describe(error) });
    } finally {
      this.#looking = false;
    }
  }

  async #tell(pairs: readonly Pair[]): Promise<void> {
    const { bus, sessions } = this.#ports;
    const users = [...new Set(pairs.map(([user]) => user))];
    const online = new Set<number>();
    for (let i = 0; i < users.length; i += USERS) {
      for (const user of await bus.online(users.slice(i, i + USERS))) online.add(user);
    }
    for (const [user, watcher] of pairs) sessions.of(watcher)?.tellPresence(user, online.has(user));
  }
}
