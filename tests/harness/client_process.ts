/** The command-line client, or the server, as an interactive process of a test. */
import { cleanEnv, ROOT, StateFolder } from "./program.ts";
import { until, within } from "./wait.ts";

/** Options of the process. */
export interface ClientProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Runs it on a terminal of 100 columns by script(1), which merges standard output and error. */
  readonly terminal?: boolean;
  /** The program; client.ts by default. */
  readonly program?: "main.ts";
  /** The permission options of Deno; all permissions by default. */
  readonly permissions?: readonly string[];
  /** The command in place of deno, its permission options and the program. */
  readonly command?: readonly string[];
}

/** A running client. Disposing of it ends the process. */
export class ClientProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #read: Promise<void>[];
  #stdout = "";
  #stderr = "";
  readonly #state: StateFolder;
  #running = true;

  /** Starts the program. With a terminal no argument may need quoting. */
  constructor(args: readonly string[], options: ClientProcessOptions = {}) {
    const { env = {}, terminal = false, program: file = "client.ts", permissions = ["-A"] } = options;
    this.#state = new StateFolder(env);
    const command = [...options.command ?? [Deno.execPath(), "run", ...permissions, file], ...args];
    // A server does not end with its terminal, so it must be killed apart from script(1).
    const typed = `stty cols 100 rows 40; exec setpriv --pdeathsig KILL ${command.join(" ")}`;
    const inTerminal = ["script", "-qec", typed, "/dev/null"];
    const [program, ...rest] = terminal ? inTerminal : command;
    this.#child = new Deno.Command(program!, {
      args: rest,
      cwd: ROOT,
      clearEnv: true,
      env: cleanEnv({ ...this.#state.env, ...(terminal ? { TERM: "xterm", NO_COLOR: "1" } : {}) }),
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#read = [
      drain(this.#child.stdout, (text) => this.#stdout += text),
      drain(this.#child.stderr, (text) => this.#stderr += text),
    ];
    void this.#child.status.then(() => this.#running = false);
  }

  /** The standard output so far; on a terminal all of its output. */
  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The complete lines of the standard output so far. */
  get lines(): string[] {
    return this.#stdout.split("\n").slice(0, -1);
  }

  /** Writes text to its standard input. */
  async write(text: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(text));
  }

  /** Closes its standard input. */
  async endInput(): Promise<void> {
    await this.#writer.close();
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits until `condition` is true of its output. */
  async until(look: (client: this) => boolean, what: string): Promise<void> {
    try {
      await until(() => look(this), what);
    } catch (error) {
      const said = `stdout: ${JSON.stringify(this.#stdout)}; stderr: ${JSON.stringify(this.#stderr)}`;
      throw new Error(`${(error as Error).message}; ${said}`);
    }
  }

  /** Waits for its end and returns the exit code. */
  async end(): Promise<number> {
    const { code } = await within(this.#child.status, "the client's end");
    await Promise.all(this.#read);
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#running) this.#child.kill("SIGKILL");
    await this.#child.status;
    await Promise.all(this.#read);
    this.#state[Symbol.dispose]();
    await this.#writer.close().catch(() => {}); // already closed by this process or by the client's end
  }
}

async function drain(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}
