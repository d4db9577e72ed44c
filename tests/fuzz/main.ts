/** Searches for failing inputs with new seeds for a given time. `--help` prints the usage. */
import { parseArgs } from "@std/cli/parse-args";
import type { Config } from "../../lib/config/options.ts";
import { startMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { HostileNode } from "./node.ts";
import { check, checkCorpus, checkSeed, Finding, type Target } from "./target.ts";
import { live, pure } from "./targets.ts";

const HELP = `deno task fuzz [options]

Tries the corpus and then inputs of successive seeds, each target in turn, until a check fails:
  --seed N      first seed (default 1)
  --minutes M   duration in minutes (default 1)
  --target NAME only this target
  --input FILE  only this input of --target, to reduce a finding
  --mysql       a node on a MariaDB and a Redis of its own in place of the embedded database

A finding is printed with the command that repeats it, and the exit code is 1. The input of a fixed fault belongs into
tests/fuzz/corpus/, as small as possible.
`;

const TIME_SLICE_MS = 200; // milliseconds of one target before the next one
const MS_PER_MINUTE = 60_000; // milliseconds

/** An error in the command line. */
class UsageError extends Error {}

function print(text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

/** The services that `--mysql` needs, if it is given. */
async function servers(parts: AsyncDisposableStack, isAsked: boolean): Promise<Partial<Config>> {
  if (!isAsked) return {};
  const database = await parts.use(await startMariadb()).fresh();
  return { mysql: database.url, redis: parts.use(await startRedis()).url };
}

/**
 * Tries seeds until the time is over, and at least one of each target. Returns the number of inputs by
 * target.
 */
async function trySeeds(targets: readonly Target[], first: number, ms: number): Promise<Map<string, number>> {
  const counts = new Map(targets.map(({ name }) => [name, 0]));
  const end = performance.now() + ms;
  do {
    for (const target of targets) {
      let count = counts.get(target.name)!;
      const turn = Math.min(end, performance.now() + TIME_SLICE_MS);
      do await checkSeed(target, first + count++); while (performance.now() < turn);
      counts.set(target.name, count);
    }
  } while (performance.now() < end);
  return counts;
}

async function main(args: readonly string[]): Promise<number> {
  const given = parseArgs(args, {
    string: ["seed", "minutes", "target", "input"],
    boolean: ["mysql", "help"],
    unknown(arg) {
      throw new UsageError(`unknown: ${arg}`);
    },
  });
  if (given.help) {
    print(HELP);
    return 0;
  }
  const number = (name: "seed" | "minutes", fallback: number): number => {
    const value = Number(given[name] ?? fallback);
    if (!(value >= 0 && value < 2 ** 32)) throw new UsageError(`--${name} must be a number`);
    return value;
  };
  const [seed, ms] = [number("seed", 1), number("minutes", 1) * MS_PER_MINUTE];

  await using parts = new AsyncDisposableStack();
  const node = parts.use(await HostileNode.start(await servers(parts, given.mysql === true)));
  const all = [...pure, ...live(node)];
  const targets = given.target === undefined ? all : all.filter(({ name }) => name === given.target);
  if (targets.length === 0) {
    throw new UsageError(`no target ${given.target}; there are ${all.map(({ name }) => name).join(", ")}`);
  }
  if (given.input !== undefined) {
    if (targets.length > 1) throw new UsageError("--input needs --target");
    const file = String(given.input);
    await check(targets[0]!, { file }, await Deno.readFile(file));
    return 0;
  }
  for (const target of targets) print(`${await checkCorpus(target)} of the corpus for ${target.name}\n`);
  for (const [name, count] of await trySeeds(targets, seed, ms)) print(`${count} inputs for ${name}\n`);
  return 0;
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  if (error instanceof UsageError) {
    print(`${error.message}; see --help\n`);
    Deno.exit(2);
  }
  if (!(error instanceof Finding)) throw error;
  const mysql = Deno.args.includes("--mysql") ? " --mysql" : "";
  print(`${error.message}\nTo repeat it: deno task fuzz --target ${error.target} ${error.how}${mysql}\n`);
  Deno.exit(1);
}
