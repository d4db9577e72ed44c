/** Runs the chaos suite, seed after seed, and prints what came of it; `--help` says how. */
import { parseArgs } from "@std/cli/parse-args";
import { type BugName, bugNames, bugs, plant } from "./bugs.ts";
import { describe, Totals } from "./report.ts";
import { run } from "./run.ts";

/** Minutes in which a bug should be found: most take one seed. */
const BUG_MINUTES = 10;

const HELP = `deno task chaos [options]

Each seed is a cluster of its own, users who chat, faults for 20 s, healing, and a check of all that was promised:
  --seed N          this seed only
  --seeds A-B       these; or --seeds COUNT, from 1 on (default 1)
  --minutes M       goes on with the next seeds until so much time is over
  --nodes N         servers (default 3)
  --seconds S       of faults in each run (default 20)
  --root DIR        the source tree that the servers run from, in place of this one
  --args "A B"      more options for the servers
  --bug NAME        gives the servers a deliberate bug; stops when it is found, or after ${BUG_MINUTES} or --minutes minutes:
${bugNames.map((name) => `      ${name.padEnd(22)} ${bugs[name].what}`).join("\n")}

The exit code is 1 when something was found; what helps to understand it is kept in a folder that is named then.
`;

/** What is wrong with the command line. */
class UsageError extends Error {}

function print(text: string, to: { writeSync(bytes: Uint8Array): number } = Deno.stdout): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
}

function readSeeds(seed: string | undefined, seeds: string | undefined): [first: number, last: number] {
  const text = seed ?? seeds ?? "1";
  const [, from, to] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (from === undefined || (seed !== undefined && to !== undefined)) {
    throw new UsageError(`not a seed: ${text}`);
  }
  if (to !== undefined) return [Number(from), Number(to)];
  return seed !== undefined ? [Number(from), Number(from)] : [1, Number(from)];
}

function readBug(name: string | undefined): BugName | undefined {
  const bug = bugNames.find((bug) => bug === name);
  if (name !== undefined && !bug) throw new UsageError(`there is no bug ${name}`);
  return bug;
}

async function main(args: readonly string[]): Promise<number> {
  const parsed = parseArgs(args, {
    string: ["seed", "seeds", "minutes", "nodes", "seconds", "root", "args", "bug"],
    boolean: ["help"],
    unknown: (arg) => {
      throw new UsageError(`unknown option: ${arg}`);
    },
  });
  if (parsed.help) {
    print(HELP);
    return 0;
  }
  const text = (name: string) => parsed[name] === undefined ? undefined : `${parsed[name]}`;
  const number = (name: string, fallback: number): number => {
    const value = Number(text(name) ?? fallback);
    if (!(value > 0)) throw new UsageError(`--${name} must be a positive number`);
    return value;
  };
  const [first, last] = readSeeds(text("seed"), text("seeds"));
  const bug = readBug(text("bug"));
  await using tree = bug && await plant(bug);
  const minutes = text("minutes") === undefined && !bug ? 0 : number("minutes", BUG_MINUTES);
  const end = performance.now() + minutes * 60_000;
  const plan = {
    nodes: number("nodes", 3),
    ms: number("seconds", 20) * 1_000,
    root: tree?.root ?? text("root"),
    args: text("args")?.split(" ") ?? [],
  };
  const totals = new Totals();
  for (let seed = first; seed <= last || performance.now() < end; seed++) {
    const outcome = await run({ seed, ...plan });
    totals.add(outcome);
    print(
      describe(outcome, `deno task chaos --seed ${seed} --nodes ${plan.nodes}${bug ? ` --bug ${bug}` : ""}`),
    );
    if (bug && outcome.findings.length > 0) break;
  }
  print(`${totals}`);
  return totals.isWell ? 0 : 1;
}

try {
  Deno.exit(await main(Deno.args));
} catch (error) {
  print(`chaos: ${error instanceof UsageError ? error.message : (error as Error).stack}\n`, Deno.stderr);
  Deno.exit(error instanceof UsageError ? 2 : 1);
}
