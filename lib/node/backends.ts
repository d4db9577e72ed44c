/** Opens the backends of a node, store and bus, as configured. Modules of other backends are not loaded. */
import type { Bus } from "../bus/bus.ts";
import { LocalHub } from "../bus/local.ts";
import { PortBus } from "../bus/port_bus.ts";
import { locateDatabase } from "../config/default_database.ts";
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import { mysqlAccess, redisUrls, type Warn } from "./services.ts";
import { SqliteStore } from "../store/sqlite/sqlite_store.ts";
import type { Store, StoreLimits } from "../store/store.ts";

/** The store and the bus of a node. */
export interface Backends {
  readonly store: Store;
  readonly bus: Bus;
  /** Fulfilled, with the reason, if the store fails and must be opened again. */
  readonly failed: Promise<Error>;
  /**
   * Fulfilled, with the reason, if the store rejects all calls until the process is restarted. The log has
   * it.
   */
  readonly lost: Promise<Error>;
}

/** The ports to the backends that all threads of a process share, and that the main thread holds. */
export interface SharedPorts {
  readonly store?: MessagePort | undefined;
  readonly bus?: MessagePort | undefined;
}

/** The failure of a store that does not fail, because it waits for its server without a limit. */
export const NEVER = new Promise<never>(() => {});

/**
 * Opens the backends of a node, over the shared ports if there are any. Rejects with an Error of one line.
 */
export async function openBackends(config: Config, log: Log, sharedPorts: SharedPorts): Promise<Backends> {
  const { store, failed, lost } = await openStore(config, log, sharedPorts.store);
  try {
    return { store, bus: await openBus(config, log, sharedPorts.bus, store), failed, lost };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Opens the embedded store, with all of its threads. Rejects with an Error of one line. */
export async function openEmbeddedStore(config: Config, log: Log): Promise<SqliteStore> {
  const file = config.db || await locateDatabase(log);
  const store = await SqliteStore.open(file, storeLimits(config), log, config.minFreeSpace);
  await store.start();
  return store;
}

async function openStore(
  config: Config,
  log: Log,
  port: MessagePort | undefined,
): Promise<Omit<Backends, "bus">> {
  if (config.mysql) {
    const { MysqlStore } = await import("../store/mysql/mysql_store.ts");
    const options = {
      log,
      maxConnections: config.mysqlConnections,
      ...await mysqlAccess(config, warningLogger(log)),
    };
    const store = await MysqlStore.open(config.mysql, storeLimits(config), options);
    return { store, failed: NEVER, lost: NEVER };
  }
  const store = port ? SqliteStore.fromPort(port) : await openEmbeddedStore(config, log);
  return { store, failed: store.failed, lost: store.lost };
}

async function openBus(
  config: Config,
  log: Log,
  port: MessagePort | undefined,
  store: Store,
): Promise<Bus> {
  if (config.redis) {
    const { RedisBus } = await import("../bus/redis/redis_bus.ts");
    const { deployment } = await store.identity();
    return new RedisBus(
      await redisUrls(config, warningLogger(log)),
      log,
      deployment,
      await store.clusterKey(),
    );
  }
  return port ? new PortBus(port) : new LocalHub().attach();
}

/** Returns a function that writes a warning into the log. */
export function warningLogger(log: Log): Warn {
  return ({ event, fields }) => log.warn(event, fields);
}

function storeLimits({ maxFriends, maxGroups, maxMembers }: Config): StoreLimits {
  return { friendsPerUser: maxFriends, groupsPerUser: maxGroups, membersPerGroup: maxMembers };
}
