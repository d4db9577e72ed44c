/** What can be done to a cluster: each fault ends by itself, and leaves running what it stopped. */
import type { Cluster } from "../harness/cluster.ts";
import type { Random } from "../harness/random.ts";
import type { Server } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import type { User } from "./user.ts";

/** What is hurt. Of the faults of one target only one is under way at a time. */
export type Target = "node" | "redis" | "mariadb" | "nginx" | "users";

/** What faults are done to. */
export interface Scene {
  readonly cluster: Cluster;
  /** Those who have come. */
  readonly users: () => readonly User[];
  /** Takes what must never happen. */
  readonly report: (problem: string) => void;
}

/** One kind of fault. */
export interface Fault {
  readonly target: Target;
  /** How often it is chosen, beside the others' weights. */
  readonly weight: number;
  /** How long it lasts, in ms: from the first to the second. */
  readonly lasts: readonly [number, number];
  /** Does it, and ends it after `ms`. `node` is which one, for faults of nodes. `random` is this fault's alone. */
  readonly strike: (scene: Scene, ms: number, node: number, random: Random) => Promise<void>;
}

const EXIT_DRAINED = 0; // the exit code of a node that has left well

/** All faults, by what the report calls them. */
export const faults = {
  "node killed": {
    target: "node",
    weight: 6,
    lasts: [0, 4_000],
    async strike({ cluster }, ms, at) {
      const node = cluster.node(at);
      node.kill("SIGKILL");
      await node.wait();
      await pause(ms);
      await begin(node);
    },
  },
  "node drained": {
    target: "node",
    weight: 4,
    lasts: [0, 2_000],
    async strike({ cluster, report }, ms, at) {
      const node = cluster.node(at);
      node.kill("SIGTERM");
      const code = await node.wait().catch(() => "none");
      if (code !== EXIT_DRAINED) report(`node ${at} was sent SIGTERM; its exit code was ${code}`);
      await pause(ms);
      await begin(node);
    },
  },
  "node frozen": {
    target: "node",
    weight: 6,
    lasts: [1_000, 8_000],
    async strike({ cluster }, ms, at) {
      const node = cluster.node(at);
      node.kill("SIGSTOP");
      await pause(ms);
      node.kill("SIGCONT");
    },
  },
  "Redis killed": {
    target: "redis",
    weight: 3,
    lasts: [0, 4_000],
    async strike({ cluster: { redis } }, ms) {
      await redis.stop();
      await pause(ms);
      await redis.start();
    },
  },
  "Redis frozen": {
    target: "redis",
    weight: 3,
    lasts: [500, 6_000],
    async strike({ cluster: { redis } }, ms) {
      redis.kill("SIGSTOP");
      await pause(ms);
      redis.kill("SIGCONT");
    },
  },
  "Redis connections cut": {
    target: "redis",
    weight: 3,
    lasts: [0, 0],
    async strike({ cluster: { redis } }) {
      await redis.command("CLIENT", "KILL", "TYPE", "normal");
      await redis.command("CLIENT", "KILL", "TYPE", "pubsub");
    },
  },
  "Redis emptied": {
    target: "redis",
    weight: 1,
    lasts: [0, 0],
    async strike({ cluster: { redis } }) {
      await redis.command("FLUSHALL");
    },
  },
  "MariaDB killed": {
    target: "mariadb",
    weight: 3,
    lasts: [0, 2_000],
    async strike({ cluster: { mariadb } }, ms) {
      mariadb.kill("SIGKILL");
      await mariadb.wait();
      await pause(ms);
      await mariadb.start();
    },
  },
  "MariaDB restarted": {
    target: "mariadb",
    weight: 2,
    lasts: [0, 2_000],
    async strike({ cluster: { mariadb } }, ms) {
      await mariadb.stop();
      await pause(ms);
      await mariadb.start();
    },
  },
  "MariaDB frozen": {
    target: "mariadb",
    weight: 3,
    lasts: [1_000, 12_000],
    async strike({ cluster: { mariadb } }, ms) {
      mariadb.kill("SIGSTOP");
      await pause(ms);
      mariadb.kill("SIGCONT");
    },
  },
  "MariaDB connections cut": {
    target: "mariadb",
    weight: 3,
    lasts: [0, 0],
    async strike({ cluster: { mariadb, database } }) {
      const others = await mariadb.sql("SELECT id FROM information_schema.processlist WHERE db = ?", [
        database.name,
      ]);
      // One that has ended meanwhile is as good as killed.
      for (const { id } of others) await mariadb.sql(`KILL CONNECTION ${id}`).catch(() => {});
    },
  },
  "nginx reloaded": {
    target: "nginx",
    weight: 2,
    lasts: [0, 0],
    async strike({ cluster: { nginx, nodes } }) {
      await nginx.reload(nodes);
    },
  },
  "nginx without a node": {
    target: "nginx",
    weight: 2,
    lasts: [500, 4_000],
    async strike({ cluster: { nginx, nodes } }, ms, at) {
      await nginx.reload(nodes.map(({ host, port }, index) => ({ host, port, down: index === at })));
      await pause(ms);
      await nginx.reload(nodes);
    },
  },
  "users cut off": {
    target: "users",
    weight: 4,
    lasts: [0, 0],
    strike({ users }, _ms, _node, random) {
      for (const user of users()) if (random.below(2) === 0) user.drop("reset");
      return Promise.resolve();
    },
  },
  "users stuck": {
    target: "users",
    weight: 3,
    lasts: [500, 5_000],
    strike({ users }, ms, _node, random) {
      for (const user of users()) if (random.below(4) === 0) user.hinder("stuck", ms);
      return Promise.resolve();
    },
  },
} as const satisfies Record<string, Fault>;

/** What a fault is called. */
export type FaultName = keyof typeof faults;

/** Starts a node that has ended, and again where it gives up because what it needs is away. */
export async function begin(node: Server): Promise<void> {
  const TRIES = 20;
  const PAUSE = 300; // ms
  for (let tries = 1;; tries++) {
    try {
      return await node.restart();
    } catch (error) {
      if (tries === TRIES) throw error;
      await pause(PAUSE);
    }
  }
}
