/** The servers that are measured, each started when a work needs it and kept for the others. */
import { startMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { type Server, startServer } from "../harness/server.ts";

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

/** Passwords cost next to nothing, and sessions may send as fast as they can: neither is what is measured. */
const FREE = ["--scrypt-ln", "1", "--message-rate", "0"];

/** As large as MariaDB has them unless it is told otherwise; the harness makes them small, for tests. */
const ROOMY = ["--innodb-buffer-pool-size=128M", "--innodb-log-file-size=96M"];

const starters = {
  embedded,
  /** The same with nothing in it, for what is measured in memory. */
  empty: embedded,
  mysql: (parts: AsyncDisposableStack) => clustered(parts, 1),
  cluster: (parts: AsyncDisposableStack) => clustered(parts, 2),
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

async function embedded(parts: AsyncDisposableStack): Promise<Setup> {
  const server = parts.use(await startServer({ args: FREE }));
  return { servers: [server], groups: [{ name: "server", pids: [server.pid] }] };
}

async function clustered(parts: AsyncDisposableStack, count: number): Promise<Setup> {
  const mariadb = parts.use(await startMariadb({ args: ROOMY }));
  const redis = parts.use(await startRedis());
  const args = [...FREE, "--mysql", (await mariadb.fresh()).url, "--redis", redis.url];
  const servers: Server[] = [];
  for (let at = 0; at < count; at++) servers.push(parts.use(await startServer({ args })));
  return {
    servers,
    groups: [
      { name: count === 1 ? "node" : "nodes", pids: servers.map(({ pid }) => pid) },
      { name: "MariaDB", pids: [mariadb.pid] },
      { name: "Redis", pids: [redis.pid] },
    ],
  };
}
