/** Runs the chaos suite, seed after seed, and prints the results. `--help` prints the usage. */
import { parseArgs } from "@std/cli/parse-args";
import { type BugName, bugNames, bugs, plant } from "./bugs.ts";
import { describe, Totals } from "./report.ts";
import { run } from "./run.ts";

/** Minutes in which the suite should find a bug; most need one seed. */
const BUG_MINUTES = 10;

const HELP = `deno task chaos [options]

Each seed is a run: a cluster, users that chat, faults for 20 s, recovery, and a check of the invariants.
  --seed N          only this seed
  --seeds A-B       these seeds; --seeds COUNT stands for 1-COUNT (default 1)
  --minutes M       continues with further seeds for M minutes
  --nodes N         servers (default 3)
  --seconds S       seconds with faults in each run (default 20)
  --root DIR        the source tree of the servers, in place of this one
  --args "A B"      further options of the servers
  --bug NAME        runs servers with a deliberate bug until it is found, for ${BUG_MINUTES} or --minutes minutes:
${bugNames.map((name) => `      ${name.padEnd(22)} ${bugs[name].description}`).join("\n")}

The exit code is 1 when there are findings. Their history and logs are stored in a folder that the report names.
`;

/** An error in the command line. */
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
