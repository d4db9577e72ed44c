/**
 * Lets honest pairs chat on a running server, alone and then beside many connections that mean harm, and prints what
 * these do to the honest ones and to the server. `--help` says how.
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

Honest users chat in pairs, first alone and then beside hostile connections, which are dealt out evenly over the
kinds below. The server runs on this machine; the first PID is its process. The CPU time of other processes (its
database, say) is measured too.

  --connections N   hostile connections (default ${DEFAULTS.connections})
  --seconds N       length of the attack (default ${DEFAULTS.seconds})
  --alone N         seconds that are measured before it (default ${DEFAULTS.alone})
  --settle N        seconds to settle before all that, and after (default ${DEFAULTS.settle})
  --pairs N         honest pairs (default ${DEFAULTS.pairs})
  --rate N          messages per second of each pair (default ${DEFAULTS.rate})
  --kinds NAME,...  only these hostile kinds
  --ratio N         how many times slower honest messages may get, in 99 of 100 (default ${DEFAULTS.ratio}; 0: not judged)
  --rss N           MiB that the server may hold (default ${DEFAULTS.rss}; 0: not judged)
  --json            one JSON object in place of the tables

With the server's usual password hashing, registering the users takes a minute or two. The exit code is 1 when
an honest message was lost, doubled, refused or not answered, an honest connection was cut off, or a bound was broken.

Kinds:
${attackTypes.map(({ name, what }) => `  ${name.padEnd(16)} ${what}\n`).join("")}`;

/** What is wrong with the command line. */
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
  if (host === undefined || parsed._.length > 1) throw new UsageError("one HOST:PORT is needed; see --help");
  const chosen = listed(parsed.kinds).map((name) => {
    const kind = attackTypes.find((one) => one.name === name);
    return kind ?? usage(`there is no hostile kind ${name}`);
  });
  const bounds = { ratio: number("ratio", 0), rss: number("rss", 0) };
  const result = await run({
    target: { host, port: Number(port) },
    processes: processes(listed(parsed.pid)),
    kinds: chosen.length > 0 ? chosen : attackTypes,
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

/** The first is the server; the others have the names that ps(1) shows. */
function processes(pids: readonly string[]): Map<string, number> {
  if (pids.length === 0) throw new UsageError("the server's --pid is needed");
  return new Map(pids.map((pid, at) => {
    if (!/^[1-9]\d*$/.test(pid)) throw new UsageError(`not a process's number: ${pid}`);
    return [at === 0 ? "server" : `${nameOf(Number(pid))} ${pid}`, Number(pid)];
  }));
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  write(Deno.stderr, `hostile: ${(error as Error).message}\n`);
  Deno.exit(error instanceof UsageError ? 2 : 1);
}
