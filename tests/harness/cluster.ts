/** Several real servers with one MariaDB, one Redis and one nginx, all of one test. */
import { type FramedClient, newUser } from "./framed_client.ts";
import { type Mariadb, startMariadb, type TestDatabase } from "./mariadb.ts";
import { type Nginx, startNginx } from "./nginx.ts";
import { freePort } from "./ports.ts";
import { type Redis, type RedisCluster, startRedis, startRedisCluster } from "./redis.ts";
import { type Server, type ServerOptions, startServer } from "./server.ts";
import { until } from "./wait.ts";

/** The parts of a cluster. */
export interface ClusterOptions {
  /** Number of servers. */
  readonly nodes: number;
  /** Event loops in each server; 1 by default. */
  readonly workers?: number;
  /** One Redis by default; a Redis Cluster has three masters. */
  readonly redis?: "one" | "cluster";
  /** Further options of the servers. */
  readonly args?: readonly string[];
  /** The source tree of the servers; this one by default. */
  readonly root?: string;
}

const START_TRIES = 5; // another program may take a free port before the server listens on it

/** The lowest password cost, as tests log in hundreds of times. */
const CHEAP_HASH = ["--argon2-memory", "8"];

/**
 * A login timeout that no test reaches: a connection that loses a race for an account stays for the next one.
 */
const PATIENT = ["--login-timeout", "1h"];

/** A cluster. Disposing of it ends all its processes. */
export class Cluster implements AsyncDisposable {
  readonly nodes: readonly Server[];
  readonly nginx: Nginx;
  readonly mariadb: Mariadb;
  readonly database: TestDatabase;
  /** The Redis, or the first master of the Redis Cluster. */
  readonly redis: Redis;
  readonly #parts: AsyncDisposableStack;

  /** Use {@link startCluster}. */
  constructor(
    parts: AsyncDisposableStack,
    nodes: readonly Server[],
    nginx: Nginx,
    database: TestDatabase,
    redis: Redis,
  ) {
    this.#parts = parts;
    this.nodes = nodes;
    this.nginx = nginx;
    this.mariadb = database.server;
    this.database = database;
    this.redis = redis;
  }

  /** Returns a node by its number, from 0. */
  node(at: number): Server {
    const node = this.nodes[at];
    if (!node) throw new Error(`there is no node ${at}`);
    return node;
  }

  /**
   * Logs new users in through nginx, one on each node, in the order of the nodes. `open` closes their
   * connections.
   */
  async usersApart(open: AsyncDisposableStack): Promise<FramedClient[]> {
    const found: FramedClient[] = [];
    const others: FramedClient[] = [];
    while (Object.keys(found).length < this.nodes.length) {
      const user = open.use(await newUser(this.nginx));
      const at = await this.whereIs(user.id);
      if (found[at]) others.push(user); // stays connected, so that nginx selects another node next
      else found[at] = user;
    }
    for (const other of others) await other.close();
    return found;
  }

  /** Returns the number of the node on which a user has logged in, for a user that has used one node only. */
  whereIs(user: number): Promise<number> {
    const entered = `"event":"session started","user":${user},`;
    return until(() => {
      const at = this.nodes.findIndex((node) => node.log().includes(entered));
      return at < 0 ? undefined : { at };
    }, `user ${user} in a log`).then(({ at }) => at);
  }

  /** Returns `User.state` from the database. */
  async state(user: number): Promise<string> {
    const [row] = await this.database.sql("SELECT state FROM User WHERE id = ?", [user]);
    return String(row?.state);
  }

  /**
   * Waits until the store has recorded all of a user's messages as delivered, so that no other node repeats
   * one.
   */
  async hasAll(user: number): Promise<void> {
    const count = "SELECT COUNT(*) AS missed FROM OfflineMessage WHERE userid = ?";
    await until(async () => {
      const [row] = await this.database.sql(count, [user]);
      return Number(row?.missed) === 0;
    }, `user ${user} to have everything`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

/** Starts a cluster and resolves when all its parts listen. Use it with `await using`. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  await using parts = new AsyncDisposableStack(); // ends the started parts when another one fails
  const [mariadb, redis] = await all(parts, [
    startMariadb(),
    options.redis === "cluster" ? startRedisCluster() : startRedis(),
  ]);
  const database = await mariadb.fresh();
  const args = [
    ...["--mysql", database.url, "--redis", urlsOf(redis).join(",")],
    ...[
      "--trusted-proxies",
      "127.0.0.1",
      "--proxy-required",
      "no",
      "--log-level",
      "debug",
      "--workers",
      `${options.workers ?? 1}`,
    ],
    ...CHEAP_HASH,
    ...PATIENT,
    ...options.args ?? [],
  ];
  const root = options.root === undefined ? {} : { root: options.root };
  const nodes = await all(
    parts,
    Array.from({ length: options.nodes }, () => startNode({ args, ...root })),
  );
  const [nginx] = await all(parts, [startNginx(nodes)]);
  const first = "masters" in redis ? redis.masters[0]! : redis;
  return new Cluster(parts.move(), nodes, nginx, database, first);
}

/** Starts a server on a port that no outgoing connection takes while the server is down. */
async function startNode(options: ServerOptions): Promise<Server> {
  for (let tries = 1;; tries++) {
    try {
      return await startServer({ ...options, port: freePort() });
    } catch (error) {
      if (tries === START_TRIES) throw error;
    }
  }
}

function urlsOf(redis: Redis | RedisCluster): readonly string[] {
  return "urls" in redis ? redis.urls : [redis.url];
}

/** Waits for all promises, and puts the fulfilled ones into `parts`, also when others are rejected. */
async function all<T extends readonly AsyncDisposable[]>(
  parts: AsyncDisposableStack,
  starting: { readonly [At in keyof T]: Promise<T[At]> },
): Promise<T> {
  const results = await Promise.allSettled(starting);
  for (const result of results) if (result.status === "fulfilled") parts.use(result.value);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<AsyncDisposable>).value) as unknown as T;
}

/** The body of a test with a cluster. The contents of `open` are disposed of at its end, the last first. */
export type ClusterWork = (cluster: Cluster, open: AsyncDisposableStack) => Promise<void>;

/** Defines a test with a cluster of its own, whose parts it may end and restart. */
export function clusterTest(name: string, options: ClusterOptions, work: ClusterWork): void {
  Deno.test(name, async () => {
    await using cluster = await startCluster(options);
    await showingLogs(cluster, work);
  });
}

/**
 * Starts one cluster before the first test of a file and ends it after the last. Returns the function that
 * defines a test with it. Such a test must leave all parts running.
 */
export function sharedCluster(options: ClusterOptions): (name: string, work: ClusterWork) => void {
  let cluster: Cluster | undefined;
  Deno.test.beforeAll(async () => {
    cluster = await startCluster(options);
  });
  Deno.test.afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });
  return (name, work) => Deno.test(name, () => showingLogs(cluster!, work));
}

async function showingLogs(cluster: Cluster, work: ClusterWork): Promise<void> {
  const from = cluster.nodes.map((node) => node.logSize);
  try {
    await using open = new AsyncDisposableStack();
    await work(cluster, open);
  } catch (error) {
    for (const [at, node] of cluster.nodes.entries()) node.showLog(from[at]);
    throw error;
  }
}
