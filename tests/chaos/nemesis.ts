/**
 * The nemesis: a schedule of faults that depends on the seed only, its execution, and the end of all faults.
 */
import { Random } from "../harness/random.ts";
import { pause } from "../harness/wait.ts";
import { begin, type Fault, type FaultName, faults, type Scene } from "./faults.ts";

const MIN_FAULT_INTERVAL_MS = 500; // ms between two faults
const MAX_FAULT_INTERVAL_MS = 3_000; // ms
const MAX_OVERTIME_MS = 3_000; // ms, the longest planned duration of a fault beyond the time for faults
const DOUBLE_FAULT_SHARE = 0.2; // of the faults occur together with another one

/** A fault of a schedule. */
export interface Planned {
  /** ms after the beginning; later when another fault of the target lasts longer. */
  readonly at: number;
  readonly name: FaultName;
  readonly node: number;
  readonly ms: number;
  readonly seed: number;
}

const names = Object.keys(faults) as FaultName[];
const total = names.reduce((sum, name) => sum + faults[name].weight, 0);

/** Returns the faults of `nodes` nodes within `ms` milliseconds, which depend on the seed only. */
export function schedule(seed: number, nodes: number, ms: number): Planned[] {
  const random = new Random(seed);
  const planned: Planned[] = [];
  let at = MIN_FAULT_INTERVAL_MS;
  while (at < ms) {
    const name = choose(random);
    const [least, most] = faults[name].lasts;
    const lasts = least + random.below(most - least + 1);
    planned.push({
      ...{ at, name, node: random.below(nodes), ms: Math.min(lasts, ms + MAX_OVERTIME_MS - at) },
      seed: random.below(2 ** 31),
    });
    if (random.below(100) >= DOUBLE_FAULT_SHARE * 100) {
      at += MIN_FAULT_INTERVAL_MS + random.below(MAX_FAULT_INTERVAL_MS - MIN_FAULT_INTERVAL_MS);
    }
  }
  return planned;
}

function choose(random: Random): FaultName {
  let roll = random.below(total);
  return names.find((name) => (roll -= faults[name].weight) < 0)!;
}

/** Executes a schedule. */
export class Nemesis {
  readonly #scene: Scene;
  readonly #count: (fault: FaultName) => void;
  /** The faults in progress by target. */
  readonly #hands = new Map<string, Promise<void>>();

  /** Makes a nemesis. `count` is called for each fault that begins. */
  constructor(scene: Scene, count: (fault: FaultName) => void) {
    this.#scene = scene;
    this.#count = count;
  }

  /** Begins each fault at its time. Leaves out faults that cannot begin within `ms` milliseconds. */
  async run(planned: readonly Planned[], ms: number): Promise<void> {
    const began = performance.now();
    const passed = () => performance.now() - began;
    for (const one of planned) {
      await pause(Math.max(0, one.at - passed()));
      const fault: Fault = faults[one.name];
      const hand = fault.target === "node" ? `node ${one.node}` : fault.target;
      const before = this.#hands.get(hand) ?? Promise.resolve();
      this.#hands.set(
        hand,
        before.then(async () => {
          if (passed() >= ms) return;
          this.#count(one.name);
          await fault.strike(this.#scene, one.ms, one.node, new Random(one.seed));
        }).catch((error) => this.#scene.report(`${one.name} failed: ${error}`)),
      );
    }
    await pause(Math.max(0, ms - passed()));
  }

  /** Waits until all faults have ended and all processes run. */
  async heal(): Promise<void> {
    await Promise.all(this.#hands.values());
    const { nodes, redis, mariadb } = this.#scene.cluster;
    await redis.command("PING");
    await mariadb.sql("SELECT 1");
    for (const [at, node] of nodes.entries()) {
      if (node.running) continue;
      this.#scene.report(`node ${at} ended by itself:\n${node.log().slice(-2_000)}`);
      await begin(node);
    }
  }
}
