/** The benchmark's command line. */
import { parseArgs } from "@std/cli/parse-args";
import type { Address } from "../harness/server.ts";
import { addressOf, type Dialect, isDialect, pidsOf, UsageError } from "../load/options.ts";
import { idle, onceOnlyScenarios, preloadedScenarios, scenarios, storm } from "./scenarios.ts";

const DEFAULTS = { repeats: 3, seconds: 5 };
const NAME_WIDTH = 20; // characters; the longest name of a scenario has 18

/** The text of `--help`. */
export const HELP = `deno task bench [options]

Starts embedded servers, a node on MariaDB and Redis, and two such nodes, and runs the load program on them: first
with a server's defaults, then without rate limits.

  --repeats N       measured runs of each scenario, after a warm-up (default ${DEFAULTS.repeats})
  --seconds N       seconds of each measured run (default ${DEFAULTS.seconds})
  --only NAME,...   only these scenarios
  --all             also those on a preloaded database, and ${storm.name}; takes minutes more
  --write           also writes the table into docs/PERFORMANCE.md; not with --only

  --against HOST:PORT
                    measures a relay on a server that runs already, in place of the scenarios below
  --dialect framed|classic
                    with --against: classic for a server of the C++ family (default framed)
  --pid PID,...     with --against: the processes whose CPU time is measured

The exit code is 1 when a message was lost, duplicated or out of order.

Scenarios:
${[...scenarios, ...preloadedScenarios].map(({ name, title }) => scenarioLine(name, title)).join("")}${
  scenarioLine(idle.name, `embedded, ${idle.connections} idle connections after a storm of logins`)
}${scenarioLine(storm.name, `two nodes of which one is killed, with ${storm.clients} clients`)}`;

/** How often and how long each scenario is measured. */
export interface Pace {
  readonly repeats: number;
  readonly seconds: number;
}

/** A server that runs already. */
export interface Foreign {
  readonly address: Address;
  readonly dialect: Dialect;
  readonly pids: readonly number[];
}

/** A valid command line. */
export interface Options {
  readonly help: boolean;
  readonly pace: Pace;
  /** The names of the chosen scenarios; empty for the usual ones. */
  readonly only: readonly string[];
  readonly all: boolean;
  readonly write: boolean;
  readonly against: Foreign | undefined;
}

/** Parses a command line. Throws a {@link UsageError}. */
export function readOptions(args: readonly string[]): Options {
  const { help, all, write, ...given } = parseArgs([...args], {
    string: ["only", "repeats", "seconds", "against", "dialect", "pid"],
    boolean: ["all", "write", "help"],
    unknown: (arg) => {
      throw new UsageError(`unknown option: ${arg}`);
    },
  });
  const text = (name: string) => given[name] === undefined ? undefined : `${given[name]}`;
  const number = (name: keyof typeof DEFAULTS) => {
    const value = Number(text(name) ?? DEFAULTS[name]);
    if (!Number.isInteger(value) || value < 1) {
      throw new UsageError(`--${name} must be a positive whole number`);
    }
    return value;
  };
  const only = text("only")?.split(",") ?? [];
  const known: readonly string[] = [
    ...[...scenarios, ...preloadedScenarios].map(({ name }) => name),
    ...onceOnlyScenarios,
  ];
  for (const name of only) {
    if (!known.includes(name)) throw new UsageError(`there is no scenario ${name}`);
  }
  if (write && only.length > 0) {
    throw new UsageError("--write needs all scenarios and cannot be combined with --only");
  }
  const against = foreignOf(text("against"), text("dialect"), text("pid"));
  if (against && (only.length > 0 || all || write)) {
    throw new UsageError("--against cannot be combined with --only, --all or --write");
  }
  return {
    help: help === true,
    pace: { repeats: number("repeats"), seconds: number("seconds") },
    only,
    all: all === true,
    write: write === true,
    against,
  };
}

function foreignOf(
  address: string | undefined,
  dialect: string | undefined,
  pid: string | undefined,
): Foreign | undefined {
  if (address === undefined) {
    if ((dialect ?? pid) !== undefined) throw new UsageError("--dialect and --pid need --against");
    return undefined;
  }
  const name = dialect ?? "framed";
  if (!isDialect(name)) throw new UsageError("--dialect must be framed or classic");
  return { address: addressOf(address), dialect: name, pids: pidsOf(pid ?? "") };
}

function scenarioLine(name: string, title: string): string {
  return `  ${name.padEnd(NAME_WIDTH)} ${title}\n`;
}
