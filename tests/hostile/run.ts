/** One run: the baseline pairs alone, then during the attack, and the results of both. */
import { residentBytes } from "../harness/process.ts";
import { ROOT } from "../harness/program.ts";
import type { Address } from "../harness/server.ts";
import { type Balance, Baseline, type Phase, seconds } from "./baseline.ts";
import type { AttackType } from "./attack_type.ts";
import { type Cores, CpuMeter, forgetPeak, peakBytes } from "./process_meter.ts";
import type { Plan, Squad, Tally } from "./attack_plan.ts";
import { baselinePairs, squads } from "./accounts.ts";

/** The plan of a run. */
export interface RunPlan {
  readonly target: Address;
  /** Process ids by name, "server" among them, to measure. */
  readonly processes: ReadonlyMap<string, number>;
  readonly attackTypes: readonly AttackType[];
  readonly connections: number;
  readonly pairs: number;
  /** Messages per second of each pair. */
  readonly rate: number;
  /** Seconds before the attack, and seconds of the attack. */
  readonly alone: number;
  readonly attack: number;
  /**
   * Seconds before the measurement, in which the programs' code is compiled and the attackers' process
   * starts. The same time passes after the attack, in which the server closes the attackers' connections and
   * collects its garbage.
   */
  readonly settle: number;
}

/** The result of a run. */
export interface Result {
  readonly alone: Phase & { readonly cpu: Cores };
  readonly attacked: Phase & { readonly cpu: Cores };
  readonly balance: Balance;
  /** Bytes of the server's memory: before the attack, the peak during it, and after it. */
  readonly memory: { readonly before: number; readonly peak: number; readonly after: number };
  readonly squads: readonly (Tally & { readonly attackType: string; readonly connections: number })[];
}

/**
 * Options of chrt(1). Real attackers use other machines, so they get only the CPU time that the server and
 * the baseline leave. With nice(1) they would delay the others for milliseconds.
 */
const IDLE_PRIORITY = ["--idle", "0"];

/** Registers the users and carries out the plan. Throws when the server cannot be reached or has ended. */
export async function run(plan: RunPlan): Promise<Result> {
  const { target } = plan;
  const name = crypto.randomUUID().slice(0, 8);
  const pairs = await baselinePairs(target, name, plan.pairs); // the first, as attackers guess the lowest ids
  const attack = { target, squads: await squads(target, name, plan.attackTypes, plan.connections) };
  const baseline = new Baseline(pairs, plan.rate);
  const attackers = new Attackers(attack);
  const processes = new Map([...plan.processes, ["attackers", attackers.pid], ["baseline", Deno.pid]]);
  const server = plan.processes.get("server")!;
  try {
    await seconds(plan.settle);
    let meter = new CpuMeter(processes);
    const alone = await baseline.during(seconds(plan.alone));
    const aloneCpu = meter.percent();

    const before = residentBytes(server);
    await forgetPeak(server);
    meter = new CpuMeter(processes);
    await attackers.begin();
    const attacked = await baseline.during(seconds(plan.attack));
    const attackedCpu = meter.percent();
    const tallies = await attackers.stop();
    const peak = await peakBytes(server);
    await seconds(plan.settle);
    const after = residentBytes(server);
    const balance = await baseline.stop();
    return {
      alone: { ...alone(), cpu: aloneCpu },
      attacked: { ...attacked(), cpu: attackedCpu },
      balance,
      memory: { before, peak, after },
      squads: tallies.map((tally, index) => ({ ...named(attack.squads[index]!), ...tally })),
    };
  } finally {
    attackers.kill();
  }
}

function named({ attackType, connections }: Squad): { attackType: string; connections: number } {
  return { attackType, connections };
}

/** The attackers' process, see attacker_process.ts. */
class Attackers {
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<Deno.CommandOutput>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;

  constructor(plan: Plan) {
    this.#child = new Deno.Command("chrt", {
      args: [...IDLE_PRIORITY, Deno.execPath(), "run", "-A", "tests/hostile/attacker_process.ts"],
      cwd: ROOT,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#output = this.#child.output();
    this.#input = this.#child.stdin.getWriter();
    void this.#line(JSON.stringify(plan)).catch(() => {}); // `begin` rejects when the process has ended
  }

  get pid(): number {
    return this.#child.pid; // chrt(1) replaces itself by the program
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
      // the process has ended
    }
  }

  #line(text: string): Promise<void> {
    return this.#input.write(new TextEncoder().encode(`${text}\n`));
  }
}
