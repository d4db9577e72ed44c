/** The measured servers. Each setup starts when a scenario needs it, and serves all later ones. */
import { startMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { type Server, startServer } from "../harness/server.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { type Preload, preloadDatabase } from "./preload.ts";

/** Processes with the same task, whose costs are added. */
export interface ProcessGroup {
  readonly name: string;
  readonly pids: readonly number[];
}

/** Servers with their databases and buses. */
export interface Setup {
  readonly servers: readonly Server[];
  readonly groups: readonly ProcessGroup[];
}

/** The setups that can be measured. */
export type SetupName = keyof typeof starters;

/** The preload of a server that has run for years. */
export const PRELOAD: Preload = { users: 100_000, messages: 10_000_000 };

/** Options without password costs and rate limits, which are not measured. */
const UNLIMITED = ["--argon2-memory", "8", "--message-rate", "0", "--unauthenticated-rate", "0"];

/** MariaDB's default sizes. The harness makes them smaller for tests. */
const LARGE_BUFFERS = ["--innodb-buffer-pool-size=128M", "--innodb-log-file-size=96M"];

/** The recursion limit that {@link preloadDatabase} needs. */
const RECURSION_LIMIT = `--max-recursive-iterations=${PRELOAD.users}`;

const starters = {
  embedded: (parts: AsyncDisposableStack) => embedded(parts),
  /** An embedded server with an empty database, to measure its memory. */
  empty: (parts: AsyncDisposableStack) => embedded(parts),
  /** A server with a preloaded database. */
  old: (parts: AsyncDisposableStack) => embedded(parts, PRELOAD),
  mysql: (parts: AsyncDisposableStack) => clustered(parts, 1),
  mysqlOld: (parts: AsyncDisposableStack) => clustered(parts, 1, PRELOAD),
  cluster: (parts: AsyncDisposableStack) => clustered(parts, 2),
  /** Two nodes, one of which the scenario kills. */
  doomed: (parts: AsyncDisposableStack) => clustered(parts, 2),
};

/** All setups that have been started. Disposing of it ends them. */
export class Setups implements AsyncDisposable {
  readonly #parts = new AsyncDisposableStack();
  readonly #started = new Map<SetupName, Setup>();

  /** Returns a setup, and starts it first if necessary. */
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
    db.exec("PRAGMA synchronous = OFF"); // the preload may be lost in a crash
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
