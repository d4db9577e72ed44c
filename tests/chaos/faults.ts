/** The faults of a cluster. Each ends by itself, and restarts the processes that it stopped. */
import type { Cluster } from "../harness/cluster.ts";
import type { Random } from "../harness/random.ts";
import type { Server } from "../harness/server.ts";
import { pause } from "../harness/wait.ts";
import type { User } from "./user.ts";

/** The target of a fault. Each target has one fault at a time. */
export type Target = "node" | "redis" | "mariadb" | "nginx" | "users";

/** The objects that faults affect. */
export interface Scene {
  readonly cluster: Cluster;
  /** The users that have joined the run. */
  readonly users: () => readonly User[];
  /** Records violations. */
  readonly report: (problem: string) => void;
}

/** A kind of fault. */
export interface Fault {
  readonly target: Target;
  /** The relative frequency. */
  readonly weight: number;
  /** The least and the greatest duration in ms. */
  readonly lasts: readonly [number, number];
  /**
   * Causes the fault for `ms`. `node` is the number of the node, for faults of nodes. `random` is this
   * fault's own.
   */
  readonly strike: (scene: Scene, ms: number, node: number, random: Random) => Promise<void>;
}

const EXIT_DRAINED = 0; // the exit code after a complete drain

/** All faults by their names in the report. */
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
      // A node that has ended meanwhile counts as killed.
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

/** The name of a fault. */
export type FaultName = keyof typeof faults;

/** Starts a node, and tries again when the start fails because a service is unavailable. */
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
