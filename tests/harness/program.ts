/** Runs the project's programs as the processes that users run. */
import { within } from "./wait.ts";

/** The folder with main.ts and client.ts. */
export const ROOT: URL = new URL("../../", import.meta.url);

/** Makes a folder where the permission set `server` may write; its caller removes it. */
export async function writableFolder(): Promise<string> {
  const data = new URL("data/", ROOT).pathname;
  await Deno.mkdir(data, { recursive: true, mode: 0o700 });
  return await Deno.makeTempDir({ dir: data, prefix: "test-" });
}

/** What a program left behind when it ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a program is given besides its arguments. */
export interface RunOptions {
  /** All of its standard input; empty if it isn't given. */
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** What Deno lets it do; everything if it isn't given. */
  readonly permissions?: readonly string[];
}

/**
 * A program's folder for state, of its own: what a client saves there is not used by the next one, unless the environment
 * names a folder. Dispose of it when the program has ended.
 */
export class StateFolder implements Disposable {
  /** The environment with that folder in it. */
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
 * This process's environment without settings of the server or the client, which would change what is tested, and without
 * the sign that npm started it, of which the server would warn.
 */
export function cleanEnv(env: Readonly<Record<string, string>> = {}): Record<string, string> {
  const kept = Object.entries(Deno.env.toObject()).filter(([name]) =>
    !name.startsWith("CHAT_") && name !== "npm_command" && name !== "INIT_CWD"
  );
  return { ...Object.fromEntries(kept), ...env };
}

/** Runs one of the programs to its end. It is killed, and the promise rejected, if that doesn't come. */
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

/** Runs the client to its end; see {@link runProgram}. */
export function runClient(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return runProgram("client.ts", args, options);
}

async function feed(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch {
    // It ended without reading its input, which is for its caller to judge by what it left behind.
  }
}
