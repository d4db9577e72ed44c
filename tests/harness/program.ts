/** Runs the project's programs as processes. */
import { within } from "./wait.ts";

/** The folder with main.ts and client.ts. */
export const ROOT: URL = new URL("../../", import.meta.url);

/** Creates a folder where the permission set `server` may write. The caller removes it. */
export async function writableFolder(): Promise<string> {
  const data = new URL("data/", ROOT).pathname;
  await Deno.mkdir(data, { recursive: true, mode: 0o700 });
  return await Deno.makeTempDir({ dir: data, prefix: "test-" });
}

/** The exit code and the output of a program. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of a program besides its arguments. */
export interface RunOptions {
  /** The standard input; empty by default. */
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The permission options of Deno; all permissions by default. */
  readonly permissions?: readonly string[];
}

/**
 * A state folder of one program, so that a client does not use the state of an earlier one. It is not created
 * when the environment names a folder. Dispose of it when the program has ended.
 */
export class StateFolder implements Disposable {
  /** The environment that names the folder. */
  readonly env: Readonly<Record<string, string>>;
  readonly #made: string | undefined;

  constructor(env: Readonly<Record<string, string>> = {}) {
    this.#made = env.XDG_STATE_HOME === undefined ? Deno.makeTempDirSync({ prefix: "state-" }) : undefined;
    this.env = this.#made === undefined ? env : { ...env, XDG_STATE_HOME: this.#made };
  }

  [Symbol.dispose](): void {
    if (this.#made !== undefined) Deno.removeSync(this.#made, { recursive: true });
  }
}

/**
 * Returns this process's environment without the settings of the server and the client, and without npm's
 * variables, which cause a warning of the server.
 */
export function cleanEnv(env: Readonly<Record<string, string>> = {}): Record<string, string> {
  const kept = Object.entries(Deno.env.toObject()).filter(([name]) =>
    !name.startsWith("CHAT_") && name !== "npm_command" && name !== "INIT_CWD"
  );
  return { ...Object.fromEntries(kept), ...env };
}

/** Runs a program to its end. After a timeout the program is killed and the promise rejected. */
export async function runProgram(
  file: "main.ts" | "client.ts",
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  using state = new StateFolder(options.env);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...options.permissions ?? ["-A"], file, ...args],
    cwd: ROOT,
    clearEnv: true,
    env: cleanEnv(state.env),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const fed = feed(child.stdin, options.stdin ?? "");
  const output = child.output();
  try {
    const { code, stdout, stderr } = await within(output, `the end of ${file} ${args.join(" ")}`);
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    child.kill("SIGKILL");
    await output;
    throw error;
  } finally {
    await fed;
  }
}

/** Runs the client to its end, see {@link runProgram}. */
export function runClient(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return runProgram("client.ts", args, options);
}

async function feed(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch {
    // The program ended without reading its input; the caller sees its exit code and output.
  }
}
