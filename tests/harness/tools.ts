/** Programs that tests need besides Deno: installed where that can be done, named where it can't. */
import { tmpdir } from "node:os";

/**
 * Makes sure that a program can be run: that it ends well when it is given `flag`. Rejects with the command that would
 * install it, if this may not.
 */
export function needTool(program: string, debianPackage: string, flag = "--version"): Promise<void> {
  const provided = needed.then(() => provide(program, debianPackage, flag));
  needed = provided.catch(() => {}); // it has been told of
  return provided;
}

/** One after the other: two installations at once would be in each other's way. */
let needed: Promise<void> = Promise.resolve();

/** Locked by the one of the tests that run in parallel that installs something. The user's own: no other may open it. */
const LOCK = `${tmpdir()}/chat-tests-install-${Deno.uid()}.lock`;

async function provide(program: string, debianPackage: string, flag: string): Promise<void> {
  if (await runs(program, flag)) return;
  using lock = await Deno.open(LOCK, { create: true, write: true });
  await lock.lock(true);
  if (await runs(program, flag)) return; // another has installed it meanwhile
  const install = ["install", "--yes", "--no-install-recommends", debianPackage];
  const patient = ["-o", "DPkg::Lock::Timeout=120"]; // seconds, for other programs' installations
  const may = Deno.uid() === 0;
  if (may && await runs("apt-get", "update") && await runs("apt-get", ...patient, ...install)) return;
  throw new Error(`${program} is missing; install it with: sudo apt-get ${install.join(" ")}`);
}

async function runs(program: string, ...args: readonly string[]): Promise<boolean> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  try {
    const { success } = await new Deno.Command(program, {
      args: [...args],
      env,
      stdout: "null",
      stderr: "null",
    }).output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
