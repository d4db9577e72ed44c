/** The servers that are measured, each started when a work needs it and kept for the others. */
import { startMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { type Server, startServer } from "../harness/server.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { type Preload, preloadDatabase } from "./preload.ts";

/** Processes that do the same: their costs are added. */
export interface ProcessGroup {
  readonly name: string;
  readonly pids: readonly number[];
}

/** Servers and what stands behind them. */
export interface Setup {
  readonly servers: readonly Server[];
  readonly groups: readonly ProcessGroup[];
}

/** What can be measured. */
export type SetupName = keyof typeof starters;

/** Of a server that has run for years. */
export const PRELOAD: Preload = { users: 100_000, messages: 10_000_000 };

/** Passwords cost next to nothing, and sessions may send as fast as they can: neither is what is measured. */
const UNLIMITED = ["--scrypt-ln", "1", "--message-rate", "0", "--unauthenticated-rate", "0"];

/** As large as MariaDB has them unless it is told otherwise; the harness makes them small, for tests. */
const LARGE_BUFFERS = ["--innodb-buffer-pool-size=128M", "--innodb-log-file-size=96M"];

/** For {@link preloadDatabase}. */
const RECURSION_LIMIT = `--max-recursive-iterations=${PRELOAD.users}`;

const starters = {
  embedded: (parts: AsyncDisposableStack) => embedded(parts),
  /** The same with nothing in it, for what is measured in memory. */
  empty: (parts: AsyncDisposableStack) => embedded(parts),
  /** The same with much in it. */
  old: (parts: AsyncDisposableStack) => embedded(parts, PRELOAD),
  mysql: (parts: AsyncDisposableStack) => clustered(parts, 1),
  mysqlOld: (parts: AsyncDisposableStack) => clustered(parts, 1, PRELOAD),
  cluster: (parts: AsyncDisposableStack) => clustered(parts, 2),
  /** The same, of which one node is about to die. */
  doomed: (parts: AsyncDisposableStack) => clustered(parts, 2),
};

/** All that has been started. Dispose of it when done. */
export class Setups implements AsyncDisposable {
  readonly #parts = new AsyncDisposableStack();
  readonly #started = new Map<SetupName, Setup>();

  /** Starts it if it doesn't run yet. */
  async get(name: SetupName): Promise<Setup> {
    const setup = this.#started.get(name) ?? await starters[name](this.#parts);
    this.#started.set(name, setup);
    return setup;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

async function embedded(parts: AsyncDisposableStack, preload?: Preload): Promise<Setup> {
  const server = parts.use(await startServer({ args: UNLIMITED }));
  if (preload) {
    server.kill("SIGTERM");
    await server.wait();
    const db = openDatabase(server.db);
    db.exec("PRAGMA synchronous = OFF"); // nothing is lost if it is
    await preloadDatabase(preload, (sql) => db.exec(sql));
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    db.close();
    await server.start();
  }
  return { servers: [server], groups: [{ name: "server", pids: [server.pid] }] };
}

async function clustered(parts: AsyncDisposableStack, count: number, preload?: Preload): Promise<Setup> {
  const mariadb = parts.use(await startMariadb({ args: [...LARGE_BUFFERS, RECURSION_LIMIT] }));
  const redis = parts.use(await startRedis());
  const database = await mariadb.fresh();
  const args = [...UNLIMITED, "--mysql", database.url, "--redis", redis.url];
  const servers: Server[] = [];
  for (let at = 0; at < count; at++) servers.push(parts.use(await startServer({ args })));
  if (preload) await preloadDatabase(preload, (sql) => database.sql(sql));
  return {
    servers,
    groups: [
      { name: count === 1 ? "node" : "nodes", pids: servers.map(({ pid }) => pid) },
      { name: "MariaDB", pids: [mariadb.pid] },
      { name: "Redis", pids: [redis.pid] },
    ],
  };
}
