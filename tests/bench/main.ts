/**
 * Starts each kind of server setup, runs the load program's scenarios on them several times, and prints the
 * cost of each: the median and the range. `--help` prints the usage.
 */
import { UsageError } from "../load/options.ts";
import type { StormResult } from "../load/storm.ts";
import { writeMeasured } from "./document.ts";
import { load } from "./load.ts";
import { machine } from "./machine.ts";
import { measure, type Measurement } from "./measure.ts";
import { type Foreign, HELP, type Options, type Pace, readOptions } from "./options.ts";
import { ofIdle, ofStorm } from "./sample.ts";
import {
  foreignScenarios,
  idle,
  type OwnScenario,
  preloadedScenarios,
  scenarios,
  storm,
} from "./scenarios.ts";
import { optionLines, Setups, setupSpecs } from "./setups.ts";
import { idleLine, stormLine, table, wrong } from "./table.ts";

const EXIT_USAGE = 2;

/** The printed result, and whether no message was lost, duplicated or out of order. */
interface Outcome {
  readonly text: string;
  readonly isCorrect: boolean;
}

function write(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}

async function main(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options.help) {
    write(Deno.stdout, HELP);
    return 0;
  }
  const { against, pace } = options;
  const { text, isCorrect } = against ? await measureForeign(against, pace) : await measureOwn(options);
  write(Deno.stdout, text);
  if (options.write) await writeMeasured(text);
  return isCorrect ? 0 : 1;
}

/** Measures the servers that the benchmark starts. */
async function measureOwn({ only, all, pace }: Options): Promise<Outcome> {
  const isChosen = (name: string, isUsual: boolean) => only.length > 0 ? only.includes(name) : isUsual || all;
  const chosen = [
    ...scenarios.filter(({ name }) => isChosen(name, true)),
    ...preloadedScenarios.filter(({ name }) => isChosen(name, false)),
  ];
  await using setups = new Setups();
  const reconnected = isChosen(storm.name, false) ? await reconnect(setups) : undefined;
  const idled = isChosen(idle.name, true) ? await idleConnections(setups) : undefined;
  const setupOf = ({ setup }: OwnScenario) => setups.get(setup);
  const measurements = await measure({ ...pace, scenarios: chosen, setupOf, progress });
  const used = [
    ...chosen.map(({ setup }) => setup),
    ...idled ? [idle.setup] : [],
    ...reconnected ? [storm.setup] : [],
  ];
  const isStormCorrect = !reconnected || reconnected.lost + reconnected.duplicated === 0;
  return {
    text: [
      ...await results(measurements, pace),
      ...idled ? [idled] : [],
      ...reconnected ? [stormLine(reconnected)] : [],
      `The servers ran with these options:\n\n${optionLines(used)}`,
    ].join("\n"),
    isCorrect: areCorrect(measurements) && isStormCorrect,
  };
}

/** Measures a server that runs already. */
async function measureForeign({ address, dialect, pids }: Foreign, pace: Pace): Promise<Outcome> {
  const groups = pids.length > 0 ? [{ name: "server", pids }] : [];
  const setupOf = () => Promise.resolve({ servers: [address], groups });
  const measurements = await measure({ ...pace, scenarios: foreignScenarios(dialect), setupOf, progress });
  return { text: (await results(measurements, pace)).join("\n"), isCorrect: areCorrect(measurements) };
}

async function results(measurements: readonly Measurement[], { repeats, seconds }: Pace): Promise<string[]> {
  const runs = `Median of ${repeats} runs of ${seconds} s each, with the range in brackets.`;
  return [`${await machine()}. ${runs}\n`, ...measurements.length > 0 ? [table(measurements)] : []];
}

function areCorrect(measurements: readonly Measurement[]): boolean {
  return measurements.every(({ balance }) => wrong(balance) === 0);
}

async function reconnect(setups: Setups): Promise<StormResult> {
  progress(storm.name);
  const { servers, groups } = await setups.get(storm.setup);
  const pid = groups[0]!.pids[0]!;
  const others = groups.map(({ name, pids }) => ({ name, pids: pids.filter((one) => one !== pid) }));
  const result = await load({ servers, groups: others }, ["--storm", `${storm.clients}`, "--kill", `${pid}`]);
  return ofStorm(result);
}

async function idleConnections(setups: Setups): Promise<string> {
  progress(idle.name);
  const result = await load(await setups.get(idle.setup), ["--idle", `${idle.connections}`]);
  return idleLine(setupSpecs[idle.setup].title, ofIdle(result));
}

function progress(what: string): void {
  write(Deno.stderr, `${what}\n`);
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  write(Deno.stderr, `bench: ${(error as Error).message}\n`);
  Deno.exit(error instanceof UsageError ? EXIT_USAGE : 1);
}
