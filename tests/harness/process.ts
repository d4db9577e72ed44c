/** Properties of a running process from Linux's /proc. */

const TICKS_PER_SECOND = 100; // of the times in /proc/PID/stat, a constant of Linux's interface

/** Returns the resident memory of a process in bytes. Throws when it has ended. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(read(pid, "status"))?.[1];
  if (kib === undefined) throw new Error(`process ${pid} has ended`);
  return Number(kib) * 1_024;
}

/** Returns the CPU seconds, user and system, of a process since its start. Throws when it has ended. */
export function cpuSeconds(pid: number): number {
  const stat = read(pid, "stat");
  // The second field is the program's name in brackets with any characters, so fields count from the last
  // bracket.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** Returns a field of the status of a process, such as `NSpid`, see proc(5). Throws when it has ended. */
export function fieldOf(pid: number, field: string): string {
  const value = new RegExp(`^${field}:\\s+(.*)$`, "m").exec(read(pid, "status"))?.[1];
  if (value === undefined) throw new Error(`process ${pid} has no ${field}`);
  return value;
}

/** Returns the name of the program of a process, as ps(1) shows it. Throws when it has ended. */
export function nameOf(pid: number): string {
  return read(pid, "comm").trim();
}

/** Reads a file of /proc by cat(1), as the runtime itself requires all permissions for /proc. */
function read(pid: number, file: string): string {
  const { stdout, success } = new Deno.Command("cat", { args: [`/proc/${pid}/${file}`] }).outputSync();
  if (!success) throw new Error(`process ${pid} has ended`);
  return new TextDecoder().decode(stdout);
}
