/** What a stretch of work has cost in processor time, process by process. */
import { cpuSeconds, nameOf, residentBytes } from "../harness/process.ts";

/** A process's processor seconds per million pieces of work, and the memory it holds. */
export interface Cost {
  readonly pid: number;
  readonly name: string;
  readonly perMillion: number;
  /** Bytes at the end of the work. */
  readonly resident: number;
}

/** What a million pieces of work cost. */
export interface Costs {
  /** Of each process asked for. */
  readonly cpu: readonly Cost[];
  /** This program's own processor seconds. */
  readonly ownCpu: number;
}

/** Measures from when it is made. */
export class CpuMeter {
  readonly #before: readonly (readonly [pid: number, seconds: number])[];
  readonly #own = cpuSeconds(Deno.pid);

  constructor(pids: readonly number[]) {
    this.#before = pids.map((pid) => [pid, cpuSeconds(pid)]);
  }

  /** Stops; what it gives is asked for the cost of so many pieces of work done since then. */
  stop(): (count: number) => Costs {
    const used = this.#before.map(([pid, before]) => ({
      pid,
      name: nameOf(pid),
      seconds: cpuSeconds(pid) - before,
      resident: residentBytes(pid),
    }));
    const own = cpuSeconds(Deno.pid) - this.#own;
    return (count) => {
      const each = (seconds: number) => seconds / count * 1e6;
      const cpu = used.map(({ seconds, ...rest }) => ({ ...rest, perMillion: each(seconds) }));
      return { cpu, ownCpu: each(own) };
    };
  }

  /** The cost of `count` pieces of work done since then. */
  perMillion(count: number): Costs {
    return this.stop()(count);
  }
}
