/** Real Redis servers as processes of their own, on free ports of 127.0.0.1, without persistence. */
import type { Redis as Client } from "ioredis";
import { freePort } from "./ports.ts";
import { needTool } from "./tools.ts";
import { until, within } from "./wait.ts";

const HOST = "127.0.0.1";
const START_TRIES = 5; // another program may take a free port before the server listens on it
const SLOTS = 16_384; // of a Redis Cluster
const NODE_TIMEOUT_MS = 1_000; // milliseconds after which a cluster considers a silent node dead

/** The cluster key of nodes in tests without a database. */
export const SECRET = "5e".repeat(32);

/** A Redis server. A restart retains its port and its place in a cluster, and empties it. */
export class Redis implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly clusterPort: number | undefined;
  #child!: Deno.ChildProcess;

  /** Use {@link startRedis}. `clusterPort` is the port for the other nodes of its cluster. */
  constructor(folder: string, port: number, clusterPort?: number) {
    this.folder = folder;
    this.port = port;
    this.clusterPort = clusterPort;
  }

  get url(): string {
    return `redis://${HOST}:${this.port}`;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Starts the server and resolves when it accepts commands. Rejects when it ends instead. */
  async start(): Promise<void> {
    const cluster = this.clusterPort === undefined ? [] : [
      ...["--cluster-enabled", "yes", "--cluster-port", `${this.clusterPort}`],
      ...["--cluster-node-timeout", `${NODE_TIMEOUT_MS}`],
    ];
    const child = new Deno.Command("redis-server", {
      args: [
        ...["--bind", HOST, "--port", `${this.port}`, "--dir", this.folder, "--logfile", "redis.log"],
        ...["--save", "", "--appendonly", "no"],
        ...cluster,
      ],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child = child;
    let ended = false;
    child.status.then(() => ended = true);
    await until(async () => {
      if (ended) throw new Error(`redis-server ended instead of listening: ${await this.#log()}`);
      // Another server may have taken the port. Then this one is about to end.
      return (await this.command("INFO", "server").catch(() => "")).includes(`process_id:${child.pid}\r`);
    }, "a Redis that answers");
  }

  /** Sends the process a signal. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  /** Kills the process and waits for its end. */
  async stop(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // already ended
    }
    await within(this.#child.status, "the end of redis-server");
  }

  /**
   * Sends a command and returns the reply as redis-cli prints it. Rejects when the server cannot be reached.
   */
  async command(...words: readonly string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command("redis-cli", {
      args: ["-h", HOST, "-p", `${this.port}`, ...words],
      stdout: "piped",
      stderr: "piped",
    }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(decoder.decode(stderr));
    return decoder.decode(stdout).trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.folder, { recursive: true });
  }

  async #log(): Promise<string> {
    return await Deno.readTextFile(`${this.folder}/redis.log`).catch(() => "it has written no log");
  }
}

/** Closes a connection of the client library and waits for its end. */
export async function disconnect(client: Client): Promise<void> {
  const ended = new Promise((resolve) => client.once("end", resolve));
  client.disconnect();
  await ended;
}

/** Starts a server and resolves when it accepts commands. Use it with `await using`. */
export function startRedis(): Promise<Redis> {
  return start((folder) => new Redis(folder, freePort()));
}

/** A Redis Cluster of three masters without replicas. Disposing of it ends them. */
export class RedisCluster implements AsyncDisposable {
  readonly masters: readonly Redis[];

  /** Use {@link startRedisCluster}. */
  constructor(masters: readonly Redis[]) {
    this.masters = masters;
  }

  get urls(): string[] {
    return this.masters.map(({ url }) => url);
  }

  /** Waits until every master reports a complete cluster. */
  async whole(): Promise<void> {
    await Promise.all(this.masters.map((master) =>
      until(async () => {
        const info = await master.command("CLUSTER", "INFO").catch(() => "");
        return info.includes("cluster_state:ok") && info.includes(`cluster_slots_ok:${SLOTS}`) &&
          info.includes(`cluster_known_nodes:${this.masters.length}`);
      }, "a whole cluster")
    ));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.masters.map((master) => master[Symbol.asyncDispose]()));
  }
}

/** Starts a cluster of three masters and resolves when it is complete. */
export async function startRedisCluster(): Promise<RedisCluster> {
  const started = await Promise.allSettled(
    [0, 1, 2].map(() => start((folder) => new Redis(folder, freePort(), freePort()))),
  );
  const cluster = new RedisCluster(
    started.filter((result) => result.status === "fulfilled").map(({ value }) => value),
  );
  try {
    for (const result of started) if (result.status === "rejected") throw result.reason;
    await join(cluster.masters);
    await cluster.whole();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

/** Assigns the slots to the masters, and introduces them to each other. */
async function join(masters: readonly Redis[]): Promise<void> {
  const share = Math.ceil(SLOTS / masters.length);
  await Promise.all(masters.map(async (master, i) => {
    const last = Math.min((i + 1) * share, SLOTS) - 1;
    await master.command("CLUSTER", "ADDSLOTSRANGE", `${i * share}`, `${last}`);
    await master.command("CLUSTER", "SET-CONFIG-EPOCH", `${i + 1}`);
  }));
  // Each master meets all others at once, as gossip would take seconds.
  await Promise.all(
    masters.flatMap((master) =>
      masters.filter((other) => other !== master).map((other) =>
        master.command("CLUSTER", "MEET", HOST, `${other.port}`, `${other.clusterPort}`)
      )
    ),
  );
}

async function start(make: (folder: string) => Redis): Promise<Redis> {
  await needTool("redis-server", "redis-server");
  await needTool("redis-cli", "redis-tools");
  for (let tries = 1;; tries++) {
    const redis = make(await Deno.makeTempDir({ prefix: "chat-redis-" }));
    try {
      await redis.start();
      return redis;
    } catch (error) {
      await redis[Symbol.asyncDispose]();
      if (tries === START_TRIES) throw error;
    }
  }
}
