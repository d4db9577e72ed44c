/** Runs the command-line client, or the server, while a test goes on: talks to it and reads what it says as it says it. */
import { cleanEnv, ROOT, StateFolder } from "./program.ts";
import { until, within } from "./wait.ts";

/** How to start it. */
export interface ClientProcessOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Gives it a terminal of 100 columns, by way of script(1); its two outputs are one then. */
  readonly terminal?: boolean;
  /** The program, if it isn't the client. */
  readonly program?: "main.ts";
  /** What Deno lets it do; everything if it isn't given. */
  readonly permissions?: readonly string[];
  /** The command in place of deno, what it lets the program do, and the program. */
  readonly command?: readonly string[];
}

/** One running client. Dispose of it when done. */
export class ClientProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #read: Promise<void>[];
  #stdout = "";
  #stderr = "";
  readonly #state: StateFolder;
  #running = true;

  /** Starts the program with these arguments; none of them may need quoting where there is a terminal. */
  constructor(args: readonly string[], options: ClientProcessOptions = {}) {
    const { env = {}, terminal = false, program: file = "client.ts", permissions = ["-A"] } = options;
    this.#state = new StateFolder(env);
    const command = [...options.command ?? [Deno.execPath(), "run", ...permissions, file], ...args];
    // A server does not end with its terminal. With script(1) killed it must not be left behind.
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

  /** Its standard output so far; on a terminal, everything that was sent to that. */
  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The whole lines of its standard output so far. */
  get lines(): string[] {
    return this.#stdout.split("\n").slice(0, -1);
  }

  /** Types this. */
  async write(text: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(text));
  }

  /** Ends its input. */
  async endInput(): Promise<void> {
    await this.#writer.close();
  }

  signal(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits until `look` likes what it has said. */
  async until(look: (client: this) => boolean, what: string): Promise<void> {
    try {
      await until(() => look(this), what);
    } catch (error) {
      const said = `stdout: ${JSON.stringify(this.#stdout)}; stderr: ${JSON.stringify(this.#stderr)}`;
      throw new Error(`${(error as Error).message}; ${said}`);
    }
  }

  /** Waits for its end and resolves to the exit code. */
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
    await this.#writer.close().catch(() => {}); // it may be closed, by us or by the client's end
  }
}

async function drain(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}
