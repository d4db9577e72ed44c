/** Runs all scenarios in turn, so that a machine that becomes slower or faster affects all of them alike. */
import { load } from "./load.ts";
import type { Sample } from "./sample.ts";
import type { Setups } from "./setups.ts";
import { type Spread, spread } from "./statistics.ts";
import type { Scenario } from "./scenarios.ts";

/** The scenarios to measure, and how often. */
export interface Plan {
  readonly scenarios: readonly Scenario[];
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
  /** CPU seconds per million units of all processes but the load program. */
  readonly cpu: Spread;
  /** The medians of `cpu` by process group. */
  readonly cpuOf: readonly (readonly [group: string, median: number])[];
  /** CPU seconds per million units of the load program. */
  readonly ownCpu: Spread;
  /** Milliseconds to the acknowledgement and to the delivery. */
  readonly ackP50: Spread | undefined;
  readonly ackP99: Spread | undefined;
  readonly deliveryP99: Spread | undefined;
  /** Messages lost, duplicated and out of order, in all runs. */
  readonly wrong: number;
}

/** Runs each scenario once as a warm-up, and then as often as the plan says. */
export async function measure(setups: Setups, plan: Plan): Promise<Measurement[]> {
  const runs = new Map<Scenario, (readonly Sample[])[]>(plan.scenarios.map((scenario) => [scenario, []]));
  for (let round = 0; round <= plan.repeats; round++) {
    for (const [scenario, samples] of runs) {
      plan.progress(`${round === 0 ? "warm-up" : `round ${round} of ${plan.repeats}`}: ${scenario.name}`);
      const setup = await setups.get(scenario.setup);
      const result = scenario.read(await load(setup, [...scenario.args, "--seconds", `${plan.seconds}`]));
      if (round > 0) samples.push(result);
    }
  }
  const measurements: Measurement[] = [];
  for (const [scenario, samples] of runs) {
    const { groups } = await setups.get(scenario.setup);
    for (const at of samples[0]!.keys()) {
      measurements.push(summary(scenario.title, samples.map((parts) => parts[at]!), groups));
    }
  }
  return measurements;
}

function summary(
  title: string,
  samples: readonly Sample[],
  groups: readonly { readonly name: string; readonly pids: readonly number[] }[],
): Measurement {
  const over = (value: (sample: Sample) => number) => spread(samples.map(value));
  const cpuOf = ({ costs }: Sample, pids: readonly number[]) =>
    costs.cpu.filter(({ pid }) => pids.includes(pid)).reduce((sum, { perMillion }) => sum + perMillion, 0);
  const { part, unit, ack, delivery } = samples[0]!;
  const all = groups.flatMap(({ pids }) => pids);
  return {
    title: `${title}${part}`,
    unit,
    rate: over(({ rate }) => rate),
    cpu: over((sample) => cpuOf(sample, all)),
    cpuOf: groups.map(({ name, pids }) => [name, over((sample) => cpuOf(sample, pids)).median]),
    ownCpu: over(({ costs }) => costs.ownCpu),
    ackP50: ack && over((sample) => sample.ack!.p50),
    ackP99: ack && over((sample) => sample.ack!.p99),
    deliveryP99: delivery && over((sample) => sample.delivery!.p99),
    wrong: samples.reduce((sum, { wrong }) => sum + wrong, 0),
  };
}
