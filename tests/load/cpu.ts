/** The CPU time of an interval, by process. */
import { cpuSeconds, nameOf, residentBytes } from "../harness/process.ts";

/** The CPU seconds of a process per million units of work, and its memory. */
export interface Cost {
  readonly pid: number;
  readonly name: string;
  readonly perMillion: number;
  /** Bytes of memory at the end. */
  readonly resident: number;
}

/** Costs per million units of work. */
export interface Costs {
  /** The costs of each measured process. */
  readonly cpu: readonly Cost[];
  /** CPU seconds of this program. */
  readonly ownCpu: number;
}

/** Measures from its construction on. */
export class CpuMeter {
  readonly #before: readonly (readonly [pid: number, seconds: number])[];
  readonly #own = cpuSeconds(Deno.pid);

  constructor(pids: readonly number[]) {
    this.#before = pids.map((pid) => [pid, cpuSeconds(pid)]);
  }

  /** Stops the measurement, and returns a function that computes the costs for a number of units of work. */
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

  /** Returns the costs of `count` units of work since the construction. */
  perMillion(count: number): Costs {
    return this.stop()(count);
  }
}
