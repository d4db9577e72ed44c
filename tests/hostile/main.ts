/**
 * Measures baseline pairs on a running server, alone and then during an attack, and prints the effect on the
 * baseline and on the server. `--help` prints the usage.
 */
import { parseArgs } from "@std/cli/parse-args";
import { nameOf } from "../harness/process.ts";
import { attackTypes } from "./attack_types.ts";
import { failures, report } from "./report.ts";
import { run } from "./run.ts";

const DEFAULTS = {
  connections: 1_000,
  seconds: 60,
  alone: 15,
  settle: 5,
  pairs: 50,
  rate: 10,
  ratio: 3,
  rss: 512,
};

const HELP = `deno task hostile HOST:PORT --pid PID[,PID...] [options]

Baseline pairs chat first alone and then during an attack, whose connections are distributed evenly over
the attack types below. The server runs on this machine; the first PID is its process. The CPU time of the
other processes, such as its database, is measured too.

  --connections N   attacking connections (default ${DEFAULTS.connections})
  --seconds N       length of the attack (default ${DEFAULTS.seconds})
  --alone N         seconds measured before the attack (default ${DEFAULTS.alone})
  --settle N        seconds to settle before the measurement and after the attack (default ${DEFAULTS.settle})
  --pairs N         baseline pairs (default ${DEFAULTS.pairs})
  --rate N          messages per second of each pair (default ${DEFAULTS.rate})
  --kinds NAME,...  only these attack types
  --ratio N         greatest permitted ratio of p99 during the attack to p99 before (default ${DEFAULTS.ratio}; 0: not checked)
  --rss N           greatest permitted memory of the server in MiB (default ${DEFAULTS.rss}; 0: not checked)
  --json            one JSON object in place of the tables

With the server's usual password hashing, registering the users takes a minute or two. The exit code is 1 when a
baseline message was lost, duplicated, refused or without a reply, when a baseline connection ended, or when a
limit was exceeded.

Attack types:
${attackTypes.map(({ name, description }) => `  ${name.padEnd(16)} ${description}\n`).join("")}`;

/** An error in the command line. */
class UsageError extends Error {}

function write(to: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArgs(args, {
    string: ["pid", "kinds", ...Object.keys(DEFAULTS)],
    boolean: ["json", "help"],
    unknown: (arg, key) => {
      if (key !== undefined) throw new UsageError(`unknown option: ${arg}`);
      return true;
    },
  });
  if (parsed.help) {
    write(Deno.stdout, HELP);
    return 0;
  }
  const number = (name: keyof typeof DEFAULTS, least = 1): number => {
    const value = Number(parsed[name] ?? DEFAULTS[name]);
    if (!Number.isInteger(value) || value < least) {
      throw new UsageError(`--${name} must be a whole number from ${least}`);
    }
    return value;
  };
  const [, host, port] = /^([^:]+):(\d+)$/.exec(`${parsed._[0]}`) ?? [];
  if (host === undefined || parsed._.length > 1) {
    throw new UsageError("exactly one HOST:PORT is needed; see --help");
  }
  const chosen = listed(parsed.kinds).map((name) => {
    const type = attackTypes.find((one) => one.name === name);
    return type ?? usage(`there is no attack type ${name}`);
  });
  const bounds = { ratio: number("ratio", 0), rss: number("rss", 0) };
  const result = await run({
    target: { host, port: Number(port) },
    processes: processes(listed(parsed.pid)),
    attackTypes: chosen.length > 0 ? chosen : attackTypes,
    connections: number("connections"),
    pairs: number("pairs"),
    rate: number("rate"),
    alone: number("alone"),
    attack: number("seconds"),
    settle: number("settle"),
  });
  const failed = failures(result, bounds);
  write(Deno.stdout, parsed.json ? `${JSON.stringify({ ...result, failed })}\n` : report(result));
  for (const failure of failed) write(Deno.stderr, `hostile: ${failure}\n`);
  return failed.length > 0 ? 1 : 0;
}

function usage(what: string): never {
  throw new UsageError(what);
}

function listed(text: unknown): string[] {
  return `${text ?? ""}`.split(",").filter((part) => part !== "");
}

/** Returns the process ids by name. The first is the server; the others have the names that ps(1) shows. */
function processes(pids: readonly string[]): Map<string, number> {
  if (pids.length === 0) throw new UsageError("the server's --pid is needed");
  return new Map(pids.map((pid, at) => {
    if (!/^[1-9]\d*$/.test(pid)) throw new UsageError(`not a process id: ${pid}`);
    return [at === 0 ? "server" : `${nameOf(Number(pid))} ${pid}`, Number(pid)];
  }));
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  write(Deno.stderr, `hostile: ${(error as Error).message}\n`);
  Deno.exit(error instanceof UsageError ? 2 : 1);
}
