/** The load program's command line. */
import { parseArgs } from "@std/cli/parse-args";
import type { Address } from "../harness/server.ts";
import type { Pace } from "./sender.ts";

/** The text of `--help`. */
export const HELP = `deno task load HOST:PORT... [options]

The default scenario is pairs, in which each sender has a window of messages in flight:
  --pairs N     senders, each with a recipient (default 50)
  --window N    messages in flight of each sender (default 1)
  --rate N      in place of a window: messages per second of all senders together, due at fixed times;
                latencies begin at the due time
  --seconds N   length of the measured part (default 10)
  --size N      characters of a message (default 100)
  --dialect framed|classic
                classic: as the clients of the C++ family, also to servers of that family; it has no
                acknowledgements, so a message is in flight until it is delivered (default framed)
  --pid PID,... processes whose CPU time and memory are measured: servers, databases, …
With several servers a sender is on one and its recipient on the next. Scenario group:
  --group N     members, on the servers in turn; --window, --rate, --seconds and --size as above
  --senders N   sending members (default 1)
Scenario offline recipients, which log in when all messages are sent:
  --absent N    senders, each with a recipient; --window, --seconds and --size as above
Scenario repeated logins:
  --logins password|token   --window concurrent logins, for --seconds
  --users N     users, who log in one after the other (default --window)
Scenario idle connections:
  --idle N      logged-in idle connections; needs --pid, prints the server's memory
Scenario reconnect storm: the first server dies with messages in flight, its clients reconnect to the others:
  --storm N     logged-in connections, half of which send to the other half
  --kill PID    the first server's process; without it, end the server when the program says so

  --json        one JSON object in place of the table

Start the server with --argon2-memory 8, as each run registers its users. With --message-rate 0 and
--unauthenticated-rate 0 it has no rate limits; otherwise a refused message is sent again. The exit code is 1
when a message was lost, duplicated or out of order, or a client did not reconnect.
`;

/** The scenarios; the default is `pairs`. */
const SCENARIOS = ["pairs", "group", "absent", "logins", "idle", "storm"] as const;

/** The scenarios of each option that does not apply to all of them. */
const SCENARIOS_OF_OPTION: Readonly<Record<string, readonly Scenario[]>> = {
  senders: ["group"],
  rate: ["pairs", "group"],
  dialect: ["pairs"],
  users: ["logins"],
  kill: ["storm"],
};

/** The name of a scenario. */
export type Scenario = typeof SCENARIOS[number];

/** The name of a wire format, see docs/PROTOCOL.md. */
export type Dialect = "framed" | "classic";

/** Returns whether a value names a dialect. */
export function isDialect(value: unknown): value is Dialect {
  return value === "framed" || value === "classic";
}

/** An error in the command line. */
export class UsageError extends Error {}

/** Returns the address that `HOST:PORT` means. */
export function addressOf(text: string): Address {
  const [, host, port] = /^([^:]+):(\d+)$/.exec(text) ?? [];
  if (host === undefined) throw new UsageError(`not HOST:PORT: ${text}`);
  return { host, port: Number(port) };
}

/** Returns the numbers of the processes in a list with commas. */
export function pidsOf(list: string): readonly number[] {
  return list.split(",").filter((pid) => pid !== "").map((pid) => {
    if (!/^[1-9]\d*$/.test(pid)) throw new UsageError(`not a process's number: ${pid}`);
    return Number(pid);
  });
}

/** A parsed command line, valid as far as that does not depend on the scenario. */
export class Options {
  readonly help: boolean;
  readonly json: boolean;
  readonly #given: Readonly<Record<string, unknown>>;

  /** Throws a {@link UsageError} for an unknown option. */
  constructor(args: readonly string[]) {
    const parsed = parseArgs([...args], {
      string: [...SCENARIOS, ...Object.keys(SCENARIOS_OF_OPTION), "window", "seconds", "size", "pid"],
      boolean: ["json", "help"],
      unknown: (arg, key) => {
        if (key !== undefined) throw new UsageError(`unknown option: ${arg}`);
        return true;
      },
    });
    this.help = parsed.help === true;
    this.json = parsed.json === true;
    this.#given = parsed;
  }

  /** The chosen scenario. */
  get scenario(): Scenario {
    const [scenario = "pairs", other] = SCENARIOS.filter((name) => this.#given[name] !== undefined);
    if (other !== undefined) throw new UsageError(`--${scenario} and --${other} cannot be combined`);
    for (const [option, scenarios] of Object.entries(SCENARIOS_OF_OPTION)) {
      if (this.#given[option] !== undefined && !scenarios.includes(scenario)) {
        throw new UsageError(`--${option} does not apply to --${scenario}`);
      }
    }
    return scenario;
  }

  /** The servers, at least one. */
  get servers(): readonly [Address, ...Address[]] {
    const [first, ...others] = (this.#given._ as readonly (string | number)[]).map((text) =>
      addressOf(`${text}`)
    );
    if (!first) throw new UsageError("HOST:PORT is needed; see --help");
    return [first, ...others];
  }

  /** The processes to measure. */
  get pids(): readonly number[] {
    return pidsOf(`${this.#given.pid ?? ""}`);
  }

  /** The pace of the senders. */
  get pace(): Pace {
    if (this.#given.rate === undefined) return { window: this.number("window", 1), rate: undefined };
    if (this.#given.window !== undefined) throw new UsageError("--rate takes no --window");
    return { window: 0, rate: this.number("rate") };
  }

  /** The dialect of pairs. */
  get dialect(): Dialect {
    const dialect = this.#given.dialect ?? "framed";
    if (!isDialect(dialect)) throw new UsageError("--dialect must be framed or classic");
    return dialect;
  }

  /** The kind of `--logins`. */
  get loginsBy(): "password" | "token" {
    const by = this.#given.logins;
    if (by !== "password" && by !== "token") throw new UsageError("--logins must be password or token");
    return by;
  }

  /** Returns the number of an option, or undefined when it is absent. */
  optional(name: string): number | undefined {
    return this.#given[name] === undefined ? undefined : this.number(name);
  }

  /** Returns the number of an option, or `fallback` when it is absent. */
  number(name: string, fallback?: number): number {
    const given = this.#given[name];
    const value = given === undefined ? fallback : Number(given);
    if (value === undefined || !Number.isInteger(value) || value < 1) {
      throw new UsageError(`--${name} must be a positive whole number`);
    }
    return value;
  }
}
