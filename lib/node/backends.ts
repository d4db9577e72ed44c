/** Opens what a node needs of the outside, as the configuration says. What isn't configured isn't even loaded. */
import type { Bus } from "../bus/bus.ts";
import { LocalHub } from "../bus/local.ts";
import { PortBus } from "../bus/port_bus.ts";
import { locateDatabase } from "../config/default_database.ts";
import type { Config } from "../config/options.ts";
import type { Log } from "../log.ts";
import { mysqlAccess, redisUrls, type Warn } from "./services.ts";
import { SqliteStore } from "../store/sqlite/sqlite_store.ts";
import type { Store, StoreLimits } from "../store/store.ts";

/** What a node needs of the outside. */
export interface Backends {
  readonly store: Store;
  readonly bus: Bus;
  /** Fulfilled, with the reason, if the store can't go on and must be opened anew. */
  readonly failed: Promise<Error>;
  /** Fulfilled, with the reason, if the store rejects all calls until the process is started anew. The log says why. */
  readonly lost: Promise<Error>;
}

/** What the threads of a process have in common: the ends of ports to the thread that holds it. */
export interface SharedPorts {
  readonly store?: MessagePort | undefined;
  readonly bus?: MessagePort | undefined;
}

/** For a store that does not fail: it waits for its server to come back, however long that takes. */
export const NEVER = new Promise<never>(() => {});

/** Opens a node's ports, over what it is lent as far as it is. Rejects with an Error of one line. */
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
