/** The measured servers. Each setup starts when a scenario needs it, and serves all later ones. */
import { startMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { type Address, type Server, startServer } from "../harness/server.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { type Preload, preloadDatabase } from "./preload.ts";

/** Processes with the same task, whose costs are added. */
export interface ProcessGroup {
  readonly name: string;
  readonly pids: readonly number[];
}

/** Servers with their databases and buses. */
export interface Setup {
  readonly servers: readonly Address[];
  /** The processes to measure, those of the servers first. */
  readonly groups: readonly ProcessGroup[];
}

/** The preload of a server that has run for years. */
export const PRELOAD: Preload = { users: 100_000, messages: 10_000_000 };

/** The cheapest password hash: users are registered for each run, which is not measured. */
const CHEAP_HASH = ["--argon2-memory", "8"];

/** No rate limit. */
const RATES_OFF = ["--message-rate", "0", "--unauthenticated-rate", "0"];

/** MariaDB's default sizes. The harness makes them smaller for tests. */
const LARGE_BUFFERS = ["--innodb-buffer-pool-size=128M", "--innodb-log-file-size=96M"];

/** The recursion limit that {@link preloadDatabase} needs. */
const RECURSION_LIMIT = `--max-recursive-iterations=${PRELOAD.users}`;

/** The properties of a setup. */
interface SetupSpec {
  /** The name in the titles of the scenarios. */
  readonly title: string;
  /** Options of each server, besides the address, the database and Redis. */
  readonly options: readonly string[];
  /** The number of nodes on MariaDB and Redis; 0 is one server with an embedded database. */
  readonly nodes: number;
  readonly preload?: Preload;
}

const embedded: SetupSpec = {
  title: "embedded, rates off",
  options: [...CHEAP_HASH, ...RATES_OFF],
  nodes: 0,
};
const oneNode: SetupSpec = { ...embedded, title: "one node on MariaDB, rates off", nodes: 1 };
const twoNodes: SetupSpec = { ...embedded, title: "two nodes, rates off", nodes: 2 };

/** The setups that can be measured. */
export const setupSpecs = {
  defaults: { title: "embedded, defaults", options: CHEAP_HASH, nodes: 0 },
  hashing: { title: "embedded, defaults and default hash", options: [], nodes: 0 },
  embedded,
  /** For large bodies: beside some 500 MB of them in the database, small messages cost a third more. */
  bodies: embedded,
  /** With an empty database, to measure its memory. */
  empty: embedded,
  old: { ...embedded, preload: PRELOAD },
  mysql: oneNode,
  "mysql-old": { ...oneNode, preload: PRELOAD },
  cluster: twoNodes,
  /** One of its nodes is killed by the scenario. */
  doomed: twoNodes,
} as const satisfies Readonly<Record<string, SetupSpec>>;

/** The name of a setup. */
export type SetupName = keyof typeof setupSpecs;

/** Returns one line for each different title of the setups, with the options of its servers. */
export function optionLines(names: readonly SetupName[]): string {
  const lines = names.map((name) => {
    const { title, options, nodes }: SetupSpec = setupSpecs[name];
    const all = [...nodes === 0 ? ["--db FILE"] : ["--mysql URL", "--redis URL"], ...options];
    return `- ${title}: \`${all.join(" ")}\`\n`;
  });
  return [...new Set(lines)].join("");
}

/** All setups that have been started. Disposing of it ends them. */
export class Setups implements AsyncDisposable {
  readonly #resources = new AsyncDisposableStack();
  readonly #started = new Map<SetupName, Setup>();

  /** Returns a setup, and starts it first if necessary. */
  async get(name: SetupName): Promise<Setup> {
    const setup = this.#started.get(name) ?? await this.#start(setupSpecs[name]);
    this.#started.set(name, setup);
    return setup;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync();
  }

  #start(spec: SetupSpec): Promise<Setup> {
    return spec.nodes === 0 ? startEmbedded(this.#resources, spec) : startNodes(this.#resources, spec);
  }
}

async function startEmbedded(
  resources: AsyncDisposableStack,
  { options, preload }: SetupSpec,
): Promise<Setup> {
  const server = resources.use(await startServer({ args: options, defaultLimits: true }));
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

async function startNodes(
  resources: AsyncDisposableStack,
  { options, nodes, preload }: SetupSpec,
): Promise<Setup> {
  const mariadb = resources.use(await startMariadb({ args: [...LARGE_BUFFERS, RECURSION_LIMIT] }));
  const redis = resources.use(await startRedis());
  const database = await mariadb.fresh();
  const args = [...options, "--mysql", database.url, "--redis", redis.url];
  const servers: Server[] = [];
  for (let at = 0; at < nodes; at++) {
    servers.push(resources.use(await startServer({ args, defaultLimits: true })));
  }
  if (preload) await preloadDatabase(preload, (sql) => database.sql(sql));
  return {
    servers,
    groups: [
      { name: nodes === 1 ? "node" : "nodes", pids: servers.map(({ pid }) => pid) },
      { name: "MariaDB", pids: [mariadb.pid] },
      { name: "Redis", pids: [redis.pid] },
    ],
  };
}
