/** Tells those who have somebody as a friend that this one came or went. */
import type { Bus } from "../bus/bus.ts";
import { describe, type Log } from "../log.ts";
import type { Store } from "../store/store.ts";
import type { Sessions } from "./sessions.ts";

const WATCHERS = 1_000; // user ids fetched at once: a celebrity's are never all in memory

/** What presence is told with. */
export interface PresencePorts {
  readonly store: Store;
  readonly bus: Bus;
  readonly sessions: Sessions;
  readonly log: Log;
}

/**
 * Tells everybody concerned whether the user is logged in here, as it is when they are told: so the last word is
 * right however often the user comes and goes meanwhile. Never rejects; who isn't told sees it at the next look.
 */
export async function announce({ store, bus, sessions, log }: PresencePorts, user: number): Promise<void> {
  try {
    for (let after = 0;;) {
      const watchers = await store.watchers(user, after, WATCHERS);
      const online = sessions.of(user) !== undefined;
      for (const watcher of watchers) {
        const here = sessions.of(watcher);
        if (here) here.tellPresence(user, online);
        else bus.publish(watcher, { kind: "presence", user, online });
      }
      if (watchers.length < WATCHERS) return;
      after = watchers.at(-1)!;
    }
  } catch (error) {
    log.warn("presence not told", { user, why: describe(error) });
  }
}
