/** Runs the load program, as a process of its own so that what it costs is not the servers'. */
import { ROOT } from "../harness/program.ts";
import type { Setup } from "./setups.ts";

/** What it has printed. Throws, with what it says, when it couldn't do its work. */
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
  // With a message lost it prints its result as ever, which tells of that.
  if (printed === "") throw new Error(`the load program ended with ${code}: ${decoder.decode(stderr)}`);
  return JSON.parse(printed);
}
