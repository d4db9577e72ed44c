/** The description of the machine of a measurement. */

const KIB_PER_GIB = 1_048_576;

/** Returns the machine, its software and the date in one line. */
export async function machine(): Promise<string> {
  const [cpus, memory, kernel, mariadb, redis] = await Promise.all([
    printedBy("cat", "/proc/cpuinfo"),
    printedBy("cat", "/proc/meminfo"),
    printedBy("uname", "-r"),
    printedBy("mariadbd", "--version"),
    printedBy("redis-server", "--version"),
  ]);
  const model = found(/^model name\s*: (.*)$/m, cpus);
  const cores = cpus.match(/^processor\s*:/gm)?.length ?? 0;
  const gibibytes = (Number(found(/^MemTotal: +(\d+) kB$/m, memory)) / KIB_PER_GIB).toFixed(1);
  return [
    `${model}, ${cores} cores, ${gibibytes} GiB of memory, Linux ${kernel.trim()}`,
    `Deno ${Deno.version.deno}`,
    `MariaDB ${found(/Ver (\d[\d.]*)/, mariadb)}`,
    `Redis ${found(/v=([\d.]+)/, redis)}`,
    new Date().toISOString().slice(0, "2000-01-01".length),
  ].join("; ");
}

function found(pattern: RegExp, text: string): string {
  return pattern.exec(text)?.[1]?.trim() ?? "unknown";
}

/** Returns the output of a program, or an empty text when it is not installed. */
async function printedBy(program: string, ...args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await new Deno.Command(program, { args: [...args], stderr: "null" }).output();
    return new TextDecoder().decode(stdout);
  } catch {
    return "";
  }
}
