/** Runs all scenarios in turn, so that a machine that becomes slower or faster affects all of them alike. */
import { type Balance, sumOf } from "../load/delivery_check.ts";
import { load } from "./load.ts";
import type { Sample } from "./sample.ts";
import type { Scenario } from "./scenarios.ts";
import type { ProcessGroup, Setup } from "./setups.ts";
import { type Spread, spread } from "./statistics.ts";

/** Seconds of the run that is not counted. */
const WARM_UP_SECONDS = 1;

/** The scenarios to measure, and how often. */
export interface Plan<S extends Scenario> {
  readonly scenarios: readonly S[];
  /** Returns the servers of a scenario. */
  readonly setupOf: (scenario: S) => Promise<Setup>;
  /** Measured runs of each scenario. */
  readonly repeats: number;
  /** Seconds of each run. */
  readonly seconds: number;
  /** Called with a description of each run before it begins. */
  readonly progress: (what: string) => void;
}

/** The result of a scenario, or of one part of it. */
export interface Measurement {
  readonly title: string;
  readonly unit: Sample["unit"];
  /** Units per second. */
  readonly rate: Spread;
  /** Refused attempts per second; undefined where there are no refusals. */
  readonly refused: Spread | undefined;
  /** CPU seconds per million units of all processes but the load program; undefined when none is known. */
  readonly cpu: Spread | undefined;
  /** The medians of `cpu` by process group. */
  readonly cpuOf: readonly (readonly [group: string, median: number])[];
  /** CPU seconds per million units of the load program. */
  readonly ownCpu: Spread;
  /** Milliseconds to the acknowledgement and to the delivery. */
  readonly ack: Percentiles | undefined;
  readonly delivery: Percentiles | undefined;
  /** The fate of the messages of all runs. */
  readonly balance: Balance;
}

/** The medians of the percentiles of several runs, in milliseconds. */
export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}

/** Runs each scenario once as a warm-up, and then as often as the plan says. */
export async function measure<S extends Scenario>(plan: Plan<S>): Promise<Measurement[]> {
  const runs = new Map<S, (readonly Sample[])[]>(plan.scenarios.map((scenario) => [scenario, []]));
  for (let round = 0; round <= plan.repeats; round++) {
    for (const [scenario, samples] of runs) {
      plan.progress(`${round === 0 ? "warm-up" : `round ${round} of ${plan.repeats}`}: ${scenario.name}`);
      const seconds = round === 0 ? WARM_UP_SECONDS : plan.seconds;
      const setup = await plan.setupOf(scenario);
      const result = await load(setup, [...scenario.load.args, "--seconds", `${seconds}`]);
      if (round > 0) samples.push(scenario.load.read(result));
    }
  }
  const measurements: Measurement[] = [];
  for (const [scenario, samples] of runs) {
    const { groups } = await plan.setupOf(scenario);
    for (const at of samples[0]!.keys()) {
      measurements.push(summary(scenario.title, samples.map((parts) => parts[at]!), groups));
    }
  }
  return measurements;
}

function summary(title: string, samples: readonly Sample[], groups: readonly ProcessGroup[]): Measurement {
  const over = (value: (sample: Sample) => number) => spread(samples.map(value));
  const percentiles = (of: "ack" | "delivery") =>
    samples[0]![of] &&
    { p50: over((sample) => sample[of]!.p50).median, p99: over((sample) => sample[of]!.p99).median };
  const cpuOf = ({ costs }: Sample, pids: readonly number[]) =>
    costs.cpu.filter(({ pid }) => pids.includes(pid)).reduce((sum, { perMillion }) => sum + perMillion, 0);
  const { part, unit, refused } = samples[0]!;
  const all = groups.flatMap(({ pids }) => pids);
  return {
    title: `${title}${part}`,
    unit,
    rate: over(({ rate }) => rate),
    refused: refused === undefined ? undefined : over((sample) => sample.refused!),
    cpu: all.length === 0 ? undefined : over((sample) => cpuOf(sample, all)),
    cpuOf: groups.map(({ name, pids }) => [name, over((sample) => cpuOf(sample, pids)).median]),
    ownCpu: over(({ costs }) => costs.ownCpu),
    ack: percentiles("ack"),
    delivery: percentiles("delivery"),
    balance: sumOf(samples.flatMap(({ balance }) => balance ?? [])),
  };
}
