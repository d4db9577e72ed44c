/** What processes cost over a stretch of time, and what one of them holds. Linux only. */
import { cpuSeconds, residentBytes } from "../harness/process.ts";

/** Percent of one processor core, by the process's name here. */
export type Cores = Readonly<Record<string, number>>;

/** Measures from when it is made. Looking costs milliseconds, so it is done between the phases only. */
export class CpuMeter {
  readonly #began = performance.now();
  readonly #before: readonly (readonly [name: string, pid: number, seconds: number])[];

  constructor(processes: ReadonlyMap<string, number>) {
    this.#before = [...processes].map(([name, pid]) => [name, pid, cpuSeconds(pid)]);
  }

  /** What has been used since then. */
  percent(): Cores {
    const seconds = (performance.now() - this.#began) / 1_000;
    return Object.fromEntries(
      this.#before.map(([name, pid, before]) => [name, (cpuSeconds(pid) - before) / seconds * 100]),
    );
  }
}

const FORGET_PEAK = "5"; // what Linux takes for setting a process's peak back to what it holds now

/** From now on, {@link peakBytes} is about what comes. Throws when the process is another user's. */
export async function forgetPeak(pid: number): Promise<void> {
  await Deno.writeTextFile(`/proc/${pid}/clear_refs`, FORGET_PEAK);
}

/** Bytes of memory that the process held at the most. Throws when it has ended. */
export async function peakBytes(pid: number): Promise<number> {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(await Deno.readTextFile(`/proc/${pid}/status`))?.[1];
  return kib === undefined ? residentBytes(pid) : Number(kib) * 1_024;
}
