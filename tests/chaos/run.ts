/** A run: a cluster, simulated users, faults by the seed, recovery, and the check. */
import { type Cluster, startCluster } from "../harness/cluster.ts";
import { Random } from "../harness/random.ts";
import { until } from "../harness/wait.ts";
import { check, lineOf } from "./checker.ts";
import { drained, historyOf, parted } from "./final_state.ts";
import type { History } from "./history.ts";
import { Nemesis, type Planned, schedule } from "./nemesis.ts";
import { Workload } from "./workload.ts";

/** The plan of a run. */
export interface Plan {
  readonly seed: number;
  /** Number of servers. */
  readonly nodes: number;
  /** ms in which faults may begin. */
  readonly ms: number;
  /** The source tree of the servers; this one by default. */
  readonly root?: string | undefined;
  /** Further options of the servers. */
  readonly args?: readonly string[];
}

/** The result of a run. */
export interface Outcome {
  readonly seed: number;
  /** ms of the run, and ms with faults. */
  readonly took: number;
  readonly faultMs: number;
  /** ms from the end of all faults until all users had all messages. */
  readonly drain: number;
  /** ms from then until all users saw the right states. */
  readonly settle: number;
  /** Counts of acks, pushes, logins and errnos. */
  readonly counts: ReadonlyMap<string, number>;
  /** Counts of faults, those of the users included. */
  readonly faults: ReadonlyMap<string, number>;
  /** The violations. */
  readonly findings: readonly string[];
  /** Events that were right in the end but slow. */
  readonly notes: readonly string[];
  readonly schedule: readonly Planned[];
  /** The folder with the history and the logs, when there are violations or notes. */
  readonly folder?: string;
}

/** Small queues, so that blocked readers fill them, and no rate limits, as all users share one address. */
const ARGS = [
  ...["--log-level", "info", "--drain-timeout", "2s", "--write-buffer-bytes", "16384"],
  ...["--message-rate", "0", "--unauthenticated-rate", "0"],
];

/** Acks before the first fault, so that there is something to lose on a slow machine, too. */
const FIRST = 100;

/** Executes a run. Rejects only when the suite itself fails. */
export async function run(plan: Plan): Promise<Outcome> {
  const { seed, nodes, ms, root } = plan;
  const began = performance.now();
  const args = [...ARGS, ...plan.args ?? []];
  const start = () => startCluster({ nodes, args, ...(root === undefined ? {} : { root }) });
  // a second attempt, as a start may time out on a busy machine
  await using cluster = await start().catch(start);
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
    ...{ seed, took: performance.now() - began, faultMs: ms, drain, settle },
    ...{ counts, faults, findings: problems, notes, schedule: planned },
  };
  return problems.length + notes.length === 0
    ? outcome
    : { ...outcome, folder: await storeFiles(cluster, outcome, history) };
}

/** Stores the history and the logs, and returns their folder. */
async function storeFiles(
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
