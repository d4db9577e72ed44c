/** Nodes in this process, over one store in memory and one hub, which a test may put faults and delays into. */
import type { Bus } from "../../lib/bus/bus.ts";
import { LocalHub } from "../../lib/bus/local.ts";
import { defaults } from "../../lib/config/config.ts";
import type { Config } from "../../lib/config/options.ts";
import { Log } from "../../lib/log.ts";
import { Server } from "../../lib/server/server.ts";
import { IN_MEMORY, SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import type { Store } from "../../lib/store/store.ts";
import type { Address } from "./server.ts";

/** What stands between the nodes and what they use. */
export interface Between {
  readonly bus?: (bus: Bus) => Bus;
  readonly store?: (store: Store) => Store;
  /** In place of what nodes are configured for. */
  readonly config?: Partial<Config>;
  /** Given what goes wrong, a line each; without it that need not be read, as it is on purpose. */
  readonly log?: Log;
  /** In place of the system's time. */
  readonly now?: () => number;
}

const MAX_LIST_ENTRIES = 100; // friends, groups, members

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
    scryptLn: 1,
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

/** The same object, but that `call` stands in the way of its methods: it is given the name and the call itself. */
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
