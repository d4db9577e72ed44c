/**
 * Nodes in this process with one store in memory and one hub, into which a test may insert faults and delays.
 */
import type { Bus } from "../../lib/bus/bus.ts";
import { LocalHub } from "../../lib/bus/local.ts";
import { defaults } from "../../lib/config/config.ts";
import type { Config } from "../../lib/config/options.ts";
import { Log } from "../../lib/log.ts";
import { Server } from "../../lib/server/server.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import type { Store } from "../../lib/store/store.ts";
import type { Address } from "./server.ts";

/** Wrappers and settings of the nodes. */
export interface Between {
  readonly bus?: (bus: Bus) => Bus;
  readonly store?: (store: Store) => Store;
  /** Settings that replace the default ones. */
  readonly config?: Partial<Config>;
  /** The log for errors; by default errors are dropped, as tests cause them. */
  readonly log?: Log;
  /** Replaces the system's time. */
  readonly now?: () => number;
}

const MAX_LIST_ENTRIES = 100; // of each list of friends, groups and members; more than tests need

/** Starts `count` nodes, runs `work` with their addresses, and ends them. */
export async function withNodes(
  count: number,
  work: (...nodes: Address[]) => Promise<void>,
  between: Between = {},
): Promise<void> {
  const real = await SqliteStore.open(IN_MEMORY, {
    friendsPerUser: MAX_LIST_ENTRIES,
    groupsPerUser: MAX_LIST_ENTRIES,
    membersPerGroup: MAX_LIST_ENTRIES,
  });
  const store = between.store?.(real) ?? real;
  const hub = new LocalHub();
  const config = {
    ...defaults(),
    host: "127.0.0.1",
    port: 0,
    argon2Memory: 8,
    messageRate: 0,
    ...between.config,
  };
  const log = between.log ?? new Log("error", "text", () => {});
  const buses = Array.from({ length: count }, () => between.bus?.(hub.attach()) ?? hub.attach());
  const servers = await Promise.all(
    buses.map((bus) => Server.start({ config, log, store, bus, now: between.now ?? Date.now })),
  );
  try {
    await work(...servers.map(({ address }) => ({ host: address.hostname, port: address.port })));
  } finally {
    await Promise.all(servers.map((server) => server.drain()));
    await Promise.all(buses.map((bus) => bus.close()));
    await real.close();
  }
}

/**
 * Returns a proxy of an object, which passes the name, the call and the arguments of each method to `call`.
 */
export function wrapped<T extends object>(
  target: T,
  call: (name: string, go: () => unknown, args: readonly unknown[]) => unknown,
): T {
  return new Proxy(target, {
    get(_, name) {
      const value = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => call(String(name), () => value.apply(target, args), args);
    },
  });
}
