/**
 * Starts each kind of server setup, runs the load program's scenarios on them several times, and prints the
 * cost of each: the median and the range. `--help` prints the usage.
 */
import { parseArgs } from "@std/cli/parse-args";
import type { StormResult } from "../load/storm.ts";
import { writeMeasured } from "./document.ts";
import { load } from "./load.ts";
import { machine } from "./machine.ts";
import { measure } from "./measure.ts";
import { bytesPerConnection, ofStorm } from "./sample.ts";
import { Setups } from "./setups.ts";
import { idleLine, stormLine, table } from "./table.ts";
import { idle, onceOnlyScenarios, preloadedScenarios, scenarios, storm } from "./scenarios.ts";

const DEFAULTS = { repeats: 5, seconds: 8 };
const EXIT_USAGE = 2;

const HELP = `deno task bench [options]

Starts an embedded server, a node on MariaDB and Redis, and two such nodes, and runs the load program on them.

  --repeats N       measured runs of each scenario, after a warm-up (default ${DEFAULTS.repeats})
  --seconds N       seconds of each measured run (default ${DEFAULTS.seconds})
  --only NAME,...   only these scenarios
  --all             also those on a preloaded database, and ${
  onceOnlyScenarios.join(" and ")
}, which run once; takes minutes more
  --write           also writes the table into docs/PERFORMANCE.md; not with --only

The exit code is 1 when a message was lost, duplicated or out of order.

Scenarios:
${
  [...scenarios, ...preloadedScenarios].map(({ name, title }) => `  ${name.padEnd(18)} ${title}\n`).join("")
}  ${idle.name.padEnd(18)} embedded, ${idle.connections} idle connections
  ${storm.name.padEnd(18)} two nodes of which one is killed, with ${storm.clients} clients
`;

/** An error in the command line. */
class UsageError extends Error {}

function write(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArgs([...args], {
    string: ["only", "repeats", "seconds"],
    boolean: ["all", "write", "help"],
    unknown: (arg) => {
      throw new UsageError(`unknown option: ${arg}`);
    },
  });
  if (parsed.help) {
    write(Deno.stdout, HELP);
    return 0;
  }
  const number = (name: keyof typeof DEFAULTS): number => {
    const value = Number(parsed[name] ?? DEFAULTS[name]);
    if (!Number.isInteger(value) || value < 1) {
      throw new UsageError(`--${name} must be a positive whole number`);
    }
    return value;
  };
  const plan = { repeats: number("repeats"), seconds: number("seconds"), progress };
  const names = `${parsed.only ?? ""}`.split(",").filter((name) => name !== "");
  for (const name of names) {
    if (
      !onceOnlyScenarios.some((one) => one === name) &&
      ![...scenarios, ...preloadedScenarios].some((scenario) => scenario.name === name)
    ) {
      throw new UsageError(`there is no scenario ${name}`);
    }
  }
  if (parsed.write && names.length > 0) {
    throw new UsageError("--write needs all scenarios and cannot be combined with --only");
  }
  const chosen = names.length === 0
    ? [...scenarios, ...parsed.all ? preloadedScenarios : []]
    : [...scenarios, ...preloadedScenarios].filter(({ name }) => names.includes(name));

  await using setups = new Setups();
  const isChosen = (name: string) => parsed.all || names.includes(name);
  const reconnected = isChosen(storm.name) ? await reconnect(setups) : undefined;
  const idled = isChosen(idle.name) ? await idleConnections(setups) : undefined;
  const measurements = await measure(setups, { ...plan, scenarios: chosen });
  const parts = [
    `${await machine()}. Median of ${plan.repeats} runs of ${plan.seconds} s each, with the range in brackets.\n`,
    ...chosen.length > 0 ? [table(measurements)] : [],
    ...idled ? [idled] : [],
    ...reconnected ? [stormLine(reconnected)] : [],
  ];
  const measured = parts.join("\n");
  write(Deno.stdout, measured);
  if (parsed.write) await writeMeasured(measured);
  const wrong = measurements.reduce((sum, { wrong }) => sum + wrong, 0);
  return wrong + (reconnected ? reconnected.lost + reconnected.duplicated : 0) > 0 ? 1 : 0;
}

async function reconnect(setups: Setups): Promise<StormResult> {
  progress(storm.name);
  const { servers, groups } = await setups.get(storm.setup);
  const { pid } = servers[0]!;
  const others = groups.map(({ name, pids }) => ({ name, pids: pids.filter((one) => one !== pid) }));
  const result = await load({ servers, groups: others }, ["--storm", `${storm.clients}`, "--kill", `${pid}`]);
  return ofStorm(result);
}

async function idleConnections(setups: Setups): Promise<string> {
  progress(idle.name);
  const result = await load(await setups.get(idle.setup), ["--idle", `${idle.connections}`]);
  return idleLine(idle.connections, bytesPerConnection(result));
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
