/** The load program's command line. */
import { parseArgs } from "@std/cli/parse-args";
import type { Address } from "../harness/server.ts";
import type { Pace } from "./sender.ts";

/** What `--help` says. */
export const HELP = `deno task load HOST:PORT... [options]

Users chat in pairs, each sender with a window of messages under way:
  --pairs N     senders, each with a recipient (default 50)
  --window N    messages that a sender has under way at once (default 1)
  --rate N      in place of a window: messages per second of all senders together, due at fixed times whatever the
                server does; times count from when a message was due
  --seconds N   length of the measured part (default 10)
  --size N      characters of a message (default 100)
  --pid PID,... processes whose processor time and memory are measured too: servers, databases, …
With several servers each sender is on one and its recipient on the next. Or they chat in one group:
  --group N     members, on the servers in turn; --window, --rate, --seconds and --size as above
  --senders N   members who send, to all others (default 1)
Or the recipients are absent, and come for their messages when all are sent:
  --absent N    senders, each with a recipient; --window, --seconds and --size as above
Or they log in again and again:
  --logins password|token   --window of them at once, for --seconds
Or they are only there:
  --idle N      logged-in connections that say nothing; needs --pid, prints the server's memory
Or their server, the first one, dies with messages under way, and they come to the others:
  --storm N     logged-in connections, half of which send to the other half
  --kill PID    the first server's process; without it, end it yourself when you are told to

  --json        one JSON object in place of the table

Start the server with --scrypt-ln 1, as passwords are hashed, --message-rate 0 and --unauthenticated-rate 0. The exit code is 1
when a message was lost, duplicated or out of order, or a client did not come back.
`;

/** What users can do; without any of these they chat in pairs. */
const SCENARIOS = ["pairs", "group", "absent", "logins", "idle", "storm"] as const;

/** Which of the options with a value has a meaning for which works, where that isn't all of them. */
const SCENARIOS_OF_OPTION: Readonly<Record<string, readonly Scenario[]>> = {
  senders: ["group"],
  rate: ["pairs", "group"],
  kill: ["storm"],
};

/** One thing that users can do. */
export type Scenario = typeof SCENARIOS[number];

/** What is wrong with the command line. */
export class UsageError extends Error {}

/** A command line that makes sense as far as can be seen without looking at what a work needs. */
export class Options {
  readonly help: boolean;
  readonly json: boolean;
  readonly #given: Readonly<Record<string, unknown>>;

  /** Throws a {@link UsageError} at an option that there isn't. */
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

  /** What the users shall do. */
  get scenario(): Scenario {
    const [scenario = "pairs", other] = SCENARIOS.filter((name) => this.#given[name] !== undefined);
    if (other !== undefined) throw new UsageError(`--${scenario} and --${other} can't be at once`);
    for (const [option, scenarios] of Object.entries(SCENARIOS_OF_OPTION)) {
      if (this.#given[option] !== undefined && !scenarios.includes(scenario)) {
        throw new UsageError(`--${option} has no meaning with --${scenario}`);
      }
    }
    return scenario;
  }

  /** The servers, at least one. */
  get servers(): readonly [Address, ...Address[]] {
    const [first, ...others] = (this.#given._ as readonly (string | number)[]).map((text) => {
      const [, host, port] = /^([^:]+):(\d+)$/.exec(`${text}`) ?? [];
      if (host === undefined) throw new UsageError(`not HOST:PORT: ${text}`);
      return { host, port: Number(port) };
    });
    if (!first) throw new UsageError("HOST:PORT is needed; see --help");
    return [first, ...others];
  }

  /** The processes to measure. */
  get pids(): readonly number[] {
    return `${this.#given.pid ?? ""}`.split(",").filter((pid) => pid !== "").map((pid) => {
      if (!/^[1-9]\d*$/.test(pid)) throw new UsageError(`not a process's number: ${pid}`);
      return Number(pid);
    });
  }

  /** How fast senders send. */
  get pace(): Pace {
    if (this.#given.rate === undefined) return { window: this.number("window", 1), rate: undefined };
    if (this.#given.window !== undefined) throw new UsageError("--rate takes no --window");
    return { window: 0, rate: this.number("rate") };
  }

  /** How `--logins` are done. */
  get loginsBy(): "password" | "token" {
    const by = this.#given.logins;
    if (by !== "password" && by !== "token") throw new UsageError("--logins must be password or token");
    return by;
  }

  /** An option's number, if it is given. */
  optional(name: string): number | undefined {
    return this.#given[name] === undefined ? undefined : this.number(name);
  }

  /** An option's number, `fallback` if it isn't given. */
  number(name: string, fallback?: number): number {
    const given = this.#given[name];
    const value = given === undefined ? fallback : Number(given);
    if (value === undefined || !Number.isInteger(value) || value < 1) {
      throw new UsageError(`--${name} must be a positive whole number`);
    }
    return value;
  }
}
