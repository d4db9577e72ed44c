/** Several real servers over one MariaDB, one Redis and one nginx, all of them the test's own. */
import { type FramedClient, newUser } from "./framed_client.ts";
import { type Mariadb, startMariadb, type TestDatabase } from "./mariadb.ts";
import { type Nginx, startNginx } from "./nginx.ts";
import { freePort } from "./ports.ts";
import { type Redis, type RedisCluster, startRedis, startRedisCluster } from "./redis.ts";
import { type Server, type ServerOptions, startServer } from "./server.ts";
import { until } from "./wait.ts";

/** What a cluster is made of. */
export interface ClusterOptions {
  /** How many servers. */
  readonly nodes: number;
  /** Event loops in each; one if it isn't given. */
  readonly workers?: number;
  /** One Redis if it isn't given; a Redis Cluster has three masters. */
  readonly redis?: "one" | "cluster";
  /** More options of the servers' command lines. */
  readonly args?: readonly string[];
  /** The source tree that the servers run from; this one if it isn't given. */
  readonly root?: string;
}

const START_TRIES = 5; // another program may take a port between finding it free and listening on it

/** A password's cost as for a toy: tests log in by the hundred. */
const CHEAP_HASH = ["--scrypt-ln", "1"];

/** A connection that loses the race for an account stays for the next one. */
const PATIENT = ["--login-timeout", "1h"];

/** A cluster. Dispose of it when done. */
export class Cluster implements AsyncDisposable {
  readonly nodes: readonly Server[];
  readonly nginx: Nginx;
  readonly mariadb: Mariadb;
  readonly database: TestDatabase;
  /** The Redis, or the cluster's first master. */
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

  /** A node by its number, from 0. */
  node(at: number): Server {
    const node = this.nodes[at];
    if (!node) throw new Error(`there is no node ${at}`);
    return node;
  }

  /** New users who are logged in through nginx, one on each node, in the nodes' order; `open` closes them. */
  async usersApart(open: AsyncDisposableStack): Promise<FramedClient[]> {
    const found: FramedClient[] = [];
    const others: FramedClient[] = [];
    while (Object.keys(found).length < this.nodes.length) {
      const user = open.use(await newUser(this.nginx));
      const at = await this.whereIs(user.id);
      if (found[at]) others.push(user); // stays, so that the next one goes elsewhere
      else found[at] = user;
    }
    for (const other of others) await other.close();
    return found;
  }

  /** On which node a user has logged in last, if that was only one of them so far. */
  whereIs(user: number): Promise<number> {
    const entered = `"event":"session started","user":${user},`;
    return until(() => {
      const at = this.nodes.findIndex((node) => node.log().includes(entered));
      return at < 0 ? undefined : { at };
    }, `user ${user} in a log`).then(({ at }) => at);
  }

  /** `User.state`, as operators read it. */
  async state(user: number): Promise<string> {
    const [row] = await this.database.sql("SELECT state FROM User WHERE id = ?", [user]);
    return String(row?.state);
  }

  /** Resolves when the store has it that a user has everything, so that nothing comes again over another node. */
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

/** Starts a cluster and resolves when all of it listens. Dispose of it when done: `await using`. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  await using parts = new AsyncDisposableStack(); // disposed of unless all goes well
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

/** Starts a server on a port that no outgoing connection takes while it is down. */
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

/** Waits for all of them, and puts those that have come about into `parts`, also when others have not. */
async function all<T extends readonly AsyncDisposable[]>(
  parts: AsyncDisposableStack,
  starting: { readonly [At in keyof T]: Promise<T[At]> },
): Promise<T> {
  const results = await Promise.allSettled(starting);
  for (const result of results) if (result.status === "fulfilled") parts.use(result.value);
  for (const result of results) if (result.status === "rejected") throw result.reason;
  return results.map((result) => (result as PromiseFulfilledResult<AsyncDisposable>).value) as unknown as T;
}

/** What a test does with a cluster. What it puts into `open` is disposed of when it ends, the last first. */
export type ClusterWork = (cluster: Cluster, open: AsyncDisposableStack) => Promise<void>;

/** Defines a test with a cluster of its own, any part of which it may end and start again. */
export function clusterTest(name: string, options: ClusterOptions, work: ClusterWork): void {
  Deno.test(name, async () => {
    await using cluster = await startCluster(options);
    await showingLogs(cluster, work);
  });
}

/**
 * One cluster for all tests of a file, started before the first and ended after the last; returns what defines a
 * test that uses it. Such a test must leave everything running.
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
