/** The CPU time of processes over an interval, and the peak memory of one. Linux only. */
import { cpuSeconds, residentBytes } from "../harness/process.ts";

/** Percent of one processor core, by the name of the process. */
export type Cores = Readonly<Record<string, number>>;

/** Measures from its construction on. Reading costs milliseconds, so callers read between two phases only. */
export class CpuMeter {
  readonly #began = performance.now();
  readonly #before: readonly (readonly [name: string, pid: number, seconds: number])[];

  constructor(processes: ReadonlyMap<string, number>) {
    this.#before = [...processes].map(([name, pid]) => [name, pid, cpuSeconds(pid)]);
  }

  /** Returns the use since the construction. */
  percent(): Cores {
    const seconds = (performance.now() - this.#began) / 1_000;
    return Object.fromEntries(
      this.#before.map(([name, pid, before]) => [name, (cpuSeconds(pid) - before) / seconds * 100]),
    );
  }
}

const FORGET_PEAK = "5"; // the value by which Linux resets a process's peak to its present memory

/** Resets the value of {@link peakBytes}. Throws when the process belongs to another user. */
export async function forgetPeak(pid: number): Promise<void> {
  await Deno.writeTextFile(`/proc/${pid}/clear_refs`, FORGET_PEAK);
}

/** Returns the peak memory of the process in bytes. Throws when the process has ended. */
export async function peakBytes(pid: number): Promise<number> {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(await Deno.readTextFile(`/proc/${pid}/status`))?.[1];
  return kib === undefined ? residentBytes(pid) : Number(kib) * 1_024;
}
