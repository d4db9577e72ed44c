/** One run: a cluster of its own, users who act, faults that follow from the seed, healing, and the verdict. */
import { type Cluster, startCluster } from "../harness/cluster.ts";
import { Random } from "../harness/random.ts";
import { until } from "../harness/wait.ts";
import { check, lineOf } from "./checker.ts";
import { drained, historyOf, parted } from "./final_state.ts";
import type { History } from "./history.ts";
import { Nemesis, type Planned, schedule } from "./nemesis.ts";
import { Workload } from "./workload.ts";

/** What is run. */
export interface Plan {
  readonly seed: number;
  /** How many servers. */
  readonly nodes: number;
  /** ms in which faults begin. */
  readonly ms: number;
  /** The source tree that the servers run from; this one if it isn't given. */
  readonly root?: string | undefined;
  /** More options of the servers'. */
  readonly args?: readonly string[];
}

/** What came of it. */
export interface Outcome {
  readonly seed: number;
  /** ms that the run took, and those of it in which faults were made. */
  readonly took: number;
  readonly hurt: number;
  /** ms from the healing until all users had everything. */
  readonly drain: number;
  /** ms from then until all users saw who is there. */
  readonly settle: number;
  /** How often what happened: acks, pushes, logins, errnos. */
  readonly counts: ReadonlyMap<string, number>;
  /** How often which fault was made, by the nemesis and by users to themselves. */
  readonly faults: ReadonlyMap<string, number>;
  /** What is wrong; nothing if all promises were kept. */
  readonly findings: readonly string[];
  /** What is right in the end and took longer than it should. */
  readonly notes: readonly string[];
  readonly schedule: readonly Planned[];
  /** Where history and logs were kept, if something is wrong or to be noted. */
  readonly kept?: string;
}

/** Small, so that readers that are stuck fill the servers' queues; nothing is rationed to users who are many in one. */
const ARGS = [
  ...["--log-level", "info", "--drain-timeout", "2s", "--write-buffer-bytes", "16384"],
  ...["--message-rate", "0", "--unauthenticated-rate", "0"],
];

/** Acks before the first fault, so that there is something to lose, however slow the machine. */
const FIRST = 100;

/** Runs it. Rejects only when the suite itself can't go on. */
export async function run(plan: Plan): Promise<Outcome> {
  const { seed, nodes, ms, root } = plan;
  const began = performance.now();
  const args = [...ARGS, ...plan.args ?? []];
  const start = () => startCluster({ nodes, args, ...(root === undefined ? {} : { root }) });
  await using cluster = await start().catch(start); // once more, where a busy machine let something take too long
  const counts = new Map<string, number>();
  const faults = new Map<string, number>();
  const problems: string[] = [];
  const notes: string[] = [];
  const started = performance.now();
  const around = {
    clock: () => Math.round(performance.now() - started),
    count: (what: string) => void add(what.startsWith("own ") ? faults : counts, what),
    report: (problem: string) => void problems.push(`at ${around.clock()} ms ${problem}`),
  };
  const workload = new Workload(seed, cluster.nginx, cluster.nodes, around);
  const planned = schedule(seed, nodes, ms);
  const nemesis = new Nemesis(
    { cluster, users: () => workload.users, report: around.report },
    (fault) => void add(faults, fault),
  );
  let [drain, settle] = [0, 0];
  let history: History | undefined;
  try {
    workload.begin(ms);
    await until(() => (counts.get("acked") ?? 0) >= FIRST, "the users to be under way");
    await nemesis.run(planned, ms);
    await nemesis.heal();
    await workload.end();
    const [healed, at] = [performance.now(), around.clock()];
    const { missing, slow } = await drained(cluster, workload.users);
    problems.push(...missing);
    notes.push(...slow);
    drain = performance.now() - healed;
    const { online, wrong } = await parted(cluster, workload.users, new Random(seed));
    settle = performance.now() - healed - drain;
    problems.push(...wrong);
    history = await historyOf(cluster, workload.users, online, at);
    problems.push(...check(history).map(lineOf));
  } catch (error) {
    problems.push(`the run could not be finished: ${(error as Error).stack}`);
  } finally {
    await workload.close();
  }
  const outcome = {
    ...{ seed, took: performance.now() - began, hurt: ms, drain, settle },
    ...{ counts, faults, findings: problems, notes, schedule: planned },
  };
  return problems.length + notes.length === 0
    ? outcome
    : { ...outcome, kept: await keep(cluster, outcome, history) };
}

/** Keeps what helps to understand what went wrong; gives back where. */
async function keep(
  cluster: Cluster,
  outcome: Outcome,
  history: History | undefined,
): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: `chat-chaos-${outcome.seed}-` });
  const write = (name: string, what: unknown) =>
    Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(what, plain, 1));
  await write("outcome.json", outcome);
  if (history) await write("history.json", history);
  for (const [at, node] of cluster.nodes.entries()) {
    await Deno.writeTextFile(`${folder}/node${at}.log`, node.log());
  }
  await Deno.writeTextFile(`${folder}/nginx.log`, cluster.nginx.log);
  return folder;
}

function plain(_key: string, value: unknown): unknown {
  return value instanceof Map ? Object.fromEntries(value) : value instanceof Set ? [...value] : value;
}

function add(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1);
}
