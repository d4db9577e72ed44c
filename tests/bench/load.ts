/** Runs the load program as a process of its own, so that its cost is not attributed to the servers. */
import { ROOT } from "../harness/program.ts";
import type { Setup } from "./setups.ts";

/** Returns the JSON that the load program has printed. Throws with its error text when it printed none. */
export async function load(setup: Setup, args: readonly string[]): Promise<unknown> {
  const pids = setup.groups.flatMap((group) => group.pids);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "tests/load/main.ts"],
      ...setup.servers.map(({ host, port }) => `${host}:${port}`),
      ...["--pid", pids.join(","), "--json", ...args],
    ],
    cwd: ROOT,
  }).output();
  const decoder = new TextDecoder();
  const printed = decoder.decode(stdout);
  // After a lost message it exits with 1, too, but prints its result.
  if (printed === "") throw new Error(`the load program ended with ${code}: ${decoder.decode(stderr)}`);
  // JSON has null for a value that cannot be computed, such as the latency of no delivery.
  return JSON.parse(printed, (_, value) => value === null ? NaN : value);
}
