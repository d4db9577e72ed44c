/** Facts about a running process, from Linux's /proc. */

const TICKS_PER_SECOND = 100; // of /proc/PID/stat's times: fixed in Linux's interface to programs

/** Bytes of memory that the process holds. Throws when it has ended. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(read(pid, "status"))?.[1];
  if (kib === undefined) throw new Error(`process ${pid} has ended`);
  return Number(kib) * 1_024;
}

/** Seconds of processor time, user and system, that the process has used since it began. Throws when it has ended. */
export function cpuSeconds(pid: number): number {
  const stat = read(pid, "stat");
  // The second field is the program's name in brackets and may hold anything, so count from the last bracket.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** A field of the process's status, such as `NSpid`, as proc(5) has it. Throws when it has ended. */
export function fieldOf(pid: number, field: string): string {
  const value = new RegExp(`^${field}:\\s+(.*)$`, "m").exec(read(pid, "status"))?.[1];
  if (value === undefined) throw new Error(`process ${pid} has no ${field}`);
  return value;
}

/** The name of the process's program, as ps(1) shows it. Throws when it has ended. */
export function nameOf(pid: number): string {
  return read(pid, "comm").trim();
}

/** Through cat(1): the runtime lets a program read /proc itself only with every permission there is. */
function read(pid: number, file: string): string {
  const { stdout, success } = new Deno.Command("cat", { args: [`/proc/${pid}/${file}`] }).outputSync();
  if (!success) throw new Error(`process ${pid} has ended`);
  return new TextDecoder().decode(stdout);
}
