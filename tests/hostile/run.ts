/** One run: honest pairs alone, then the same beside the attackers, and what came of both. */
import { residentBytes } from "../harness/process.ts";
import { ROOT } from "../harness/program.ts";
import type { Address } from "../harness/server.ts";
import { type Balance, Baseline, type Phase, seconds } from "./baseline.ts";
import type { AttackType } from "./attack_type.ts";
import { type Cores, CpuMeter, forgetPeak, peakBytes } from "./process_meter.ts";
import type { Plan, Squad, Tally } from "./attack_plan.ts";
import { baselinePairs, squads } from "./accounts.ts";

/** What to do. */
export interface RunPlan {
  readonly target: Address;
  /** Processes by their names, "server" among them, whose cost is measured. */
  readonly processes: ReadonlyMap<string, number>;
  readonly kinds: readonly AttackType[];
  readonly connections: number;
  readonly pairs: number;
  /** Messages per second of each pair. */
  readonly rate: number;
  /** Seconds before the attack, and of it. */
  readonly alone: number;
  readonly attack: number;
  /**
   * Seconds before the measuring, in which all programs' code gets compiled and the attackers' process starts; and after
   * the attack, for the server to close what is left of it and to collect its garbage.
   */
  readonly settle: number;
}

/** What came of it. */
export interface Result {
  readonly alone: Phase & { readonly cpu: Cores };
  readonly attacked: Phase & { readonly cpu: Cores };
  readonly balance: Balance;
  /** Bytes of the server's memory: before the attack, at the most during it, and when it is over. */
  readonly memory: { readonly before: number; readonly peak: number; readonly after: number };
  readonly squads: readonly (Tally & { readonly kind: string; readonly connections: number })[];
}

/**
 * The attackers would be elsewhere, and not share this machine's processors: they get what the server and the honest
 * side leave, and never keep them waiting for a core, which nice(1) would let them do for some milliseconds.
 */
const WHEN_IDLE = ["--idle", "0"]; // for chrt(1)

/** Makes the users and carries out the order. Throws when the server can't be reached or has ended. */
export async function run(order: RunPlan): Promise<Result> {
  const { target } = order;
  const name = crypto.randomUUID().slice(0, 8);
  const pairs = await baselinePairs(target, name, order.pairs); // the first, as guesses are made at the first accounts
  const plan = { target, squads: await squads(target, name, order.kinds, order.connections) };
  const baseline = new Baseline(pairs, order.rate);
  const attackers = new Attackers(plan);
  const processes = new Map([...order.processes, ["attackers", attackers.pid], ["honest", Deno.pid]]);
  const server = order.processes.get("server")!;
  try {
    await seconds(order.settle);
    let meter = new CpuMeter(processes);
    const alone = await baseline.during(seconds(order.alone));
    const aloneCpu = meter.percent();

    const before = residentBytes(server);
    await forgetPeak(server);
    meter = new CpuMeter(processes);
    await attackers.begin();
    const attacked = await baseline.during(seconds(order.attack));
    const attackedCpu = meter.percent();
    const tallies = await attackers.stop();
    const peak = await peakBytes(server);
    await seconds(order.settle);
    const after = residentBytes(server);
    const balance = await baseline.stop();
    return {
      alone: { ...alone(), cpu: aloneCpu },
      attacked: { ...attacked(), cpu: attackedCpu },
      balance,
      memory: { before, peak, after },
      squads: tallies.map((tally, index) => ({ ...named(plan.squads[index]!), ...tally })),
    };
  } finally {
    attackers.kill();
  }
}

function named({ kind, connections }: Squad): { kind: string; connections: number } {
  return { kind, connections };
}

/** The attackers' process. */
class Attackers {
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;

  constructor(plan: Plan) {
    this.#child = new Deno.Command("chrt", {
      args: [...WHEN_IDLE, Deno.execPath(), "run", "-A", "tests/hostile/attacker_process.ts"],
      cwd: ROOT,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#output = this.#child.output();
    this.#input = this.#child.stdin.getWriter();
    void this.#line(JSON.stringify(plan)).catch(() => {}); // it has ended, which `begin` finds out
  }

  get pid(): number {
    return this.#child.pid; // chrt(1) becomes what it starts
  }

  begin(): Promise<void> {
    return this.#line("begin");
  }

  async stop(): Promise<Tally[]> {
    await this.#input.close();
    const { success, stdout } = await this.#output;
    if (!success) throw new Error("the attackers' process failed");
    return JSON.parse(new TextDecoder().decode(stdout)) as Tally[];
  }

  kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // it has ended
    }
  }

  #line(text: string): Promise<void> {
    return this.#input.write(new TextEncoder().encode(`${text}\n`));
  }
}
