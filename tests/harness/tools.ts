/** Programs that tests need besides Deno. They are installed if possible, and named in an error otherwise. */
import { tmpdir } from "node:os";

/**
 * Ensures that a program exists and succeeds with `flag`. Rejects with the command that installs it, when
 * this process may not install it.
 */
export function needTool(program: string, debianPackage: string, flag = "--version"): Promise<void> {
  const provided = needed.then(() => provide(program, debianPackage, flag));
  needed = provided.catch(() => {}); // the caller handles the error
  return provided;
}

/** Serialises the installations of this process. */
let needed: Promise<void> = Promise.resolve();

/** The lock for installations of parallel tests. Each user has one, as others cannot open it. */
const LOCK = `${tmpdir()}/chat-tests-install-${Deno.uid()}.lock`;

async function provide(program: string, debianPackage: string, flag: string): Promise<void> {
  if (await runs(program, flag)) return;
  using lock = await Deno.open(LOCK, { create: true, write: true });
  await lock.lock(true);
  if (await runs(program, flag)) return; // installed by another process meanwhile
  const install = ["install", "--yes", "--no-install-recommends", debianPackage];
  const patient = ["-o", "DPkg::Lock::Timeout=120"]; // seconds to wait for other installations
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
