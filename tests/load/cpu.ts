/** What a stretch of work has cost in processor time, process by process. */
import { cpuSeconds, nameOf } from "../harness/process.ts";

/** A process's processor seconds per million pieces of work. */
export interface Cost {
  readonly pid: number;
  readonly name: string;
  readonly perMillion: number;
}

/** Measures from when it is made. */
export class CpuMeter {
  readonly #before: readonly (readonly [pid: number, seconds: number])[];
  readonly #own = cpuSeconds(Deno.pid);

  constructor(pids: readonly number[]) {
    this.#before = pids.map((pid) => [pid, cpuSeconds(pid)]);
  }

  /** The cost of `count` pieces of work done since then. */
  perMillion(count: number): { readonly cpu: readonly Cost[]; readonly ownCpu: number } {
    const each = (seconds: number) => seconds / count * 1e6;
    const cpu = this.#before.map(([pid, seconds]) => ({
      pid,
      name: nameOf(pid),
      perMillion: each(cpuSeconds(pid) - seconds),
    }));
    return { cpu, ownCpu: each(cpuSeconds(Deno.pid) - this.#own) };
  }
}
