/** A real server as a process of its own, on a free port of 127.0.0.1 and in a temporary folder. */
import { residentBytes } from "./process.ts";
import { cleanEnv, ROOT } from "./program.ts";
import { until, within } from "./wait.ts";

/** Options of a server. */
export interface ServerOptions {
  /** Options of the command line, besides the address and the database. */
  readonly args?: readonly string[];
  /** Whether password costs and rate limits are the server's defaults, unless `args` names others. */
  readonly defaultLimits?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  /** The permission options of Deno; all permissions by default. */
  readonly permissions?: readonly string[];
  /** The database file; one in the server's folder by default. */
  readonly db?: string;
  /** Whether the command line names no database file. */
  readonly usualDb?: boolean;
  /** The port; a free one by default. */
  readonly port?: number;
  /** The source tree; this one by default. */
  readonly root?: string;
  /**
   * The certificate authority for clients, which makes them use TLS, see {@link Address}. `args` must name a
   * certificate.
   */
  readonly ca?: string;
  /** The greatest size of its files in KiB, which simulates a full disk; unlimited by default. */
  readonly diskKib?: number;
  /** The umask in octal; that of the tests by default. */
  readonly umask?: string;
  /** The limit of open files; that of this process by default. */
  readonly openFiles?: number;
}

/** A password cost of well under a millisecond, as tests register hundreds of users. */
const CHEAP_HASH = "8"; // KiB

/** No rate limit, in tests that do not test it. */
const UNLIMITED = "0";

const SHOWN_LOG_BYTES = 16_384; // bytes of the end of the log that a failed test shows

const BLOCKS_PER_KIB = 2; // POSIX: `ulimit -f` counts blocks of 512 bytes

/** The address of a server. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** The certificate authority in PEM form. Its presence makes clients use TLS. */
  readonly ca?: string | undefined;
}

/** The environment of `deno task start`: see "Memory of password hashes" in docs/OPERATIONS.md. */
const MEMORY_ENV = { MALLOC_MMAP_THRESHOLD_: "1048576" };

/** A server. A restart retains its port, its database and its log. */
export class Server implements Address, AsyncDisposable {
  readonly host = "127.0.0.1";
  readonly folder: string;
  readonly db: string;
  #port: number;
  readonly #options: ServerOptions;
  #child!: Deno.ChildProcess;
  #exit: Deno.CommandStatus | undefined;

  /** Use {@link startServer}. */
  constructor(folder: string, options: ServerOptions) {
    this.folder = folder;
    this.db = options.db ?? `${folder}/chat.db`;
    this.#port = options.port ?? 0;
    this.#options = options;
  }

  get port(): number {
    return this.#port;
  }

  get ca(): string | undefined {
    return this.#options.ca;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  /** The resident memory of the server in bytes. */
  get memory(): number {
    return residentBytes(this.pid);
  }

  /** The size of the log in bytes, for the parameter of {@link log}. */
  get logSize(): number {
    return Deno.statSync(this.#logFile).size;
  }

  /** Returns the server's standard output and error from byte `from` on. */
  log(from = 0): string {
    return new TextDecoder().decode(Deno.readFileSync(this.#logFile).subarray(from));
  }

  /** Starts the server and resolves when it listens. Rejects with its log when it ends instead. */
  async start(): Promise<void> {
    const given = this.#options.args ?? [];
    const isGiven = (option: string) => this.#options.defaultLimits || given.includes(option);
    const isCostGiven = this.#options.defaultLimits || given.some((arg) => arg.startsWith("--argon2-"));
    const hash = isCostGiven ? [] : ["--argon2-memory", CHEAP_HASH];
    const rate = isGiven("--message-rate") ? [] : ["--message-rate", UNLIMITED];
    const command = [
      ...[
        Deno.execPath(),
        "run",
        ...this.#options.permissions ?? ["-A"],
        "main.ts",
        this.host,
        `${this.#port}`,
      ],
      ...(this.#options.usualDb ? [] : ["--db", this.db]),
      ...hash,
      ...rate,
      ...given,
    ];
    Deno.writeFileSync(this.#logFile, new Uint8Array(0), { append: true });
    const before = this.logSize;
    // The log goes to a file and not to a pipe: reading a pipe would be a pending operation in every test
    // that shares the server. `exec` retains the process id.
    const { diskKib, openFiles, umask } = this.#options;
    // Without the trap the kernel ends a process that writes beyond the limit; with it the write fails.
    const disk = diskKib === undefined ? "" : `trap "" XFSZ; ulimit -f ${diskKib * BLOCKS_PER_KIB}; `;
    const files = openFiles === undefined ? "" : `ulimit -n ${openFiles}; `;
    const mask = umask === undefined ? "" : `umask ${umask}; `;
    const script = `${disk}${files}${mask}log="$1"; shift; exec "$@" >>"$log" 2>&1`;
    this.#exit = undefined;
    this.#child = new Deno.Command("sh", {
      args: ["-c", script, "sh", this.#logFile, ...command],
      cwd: this.#options.root ?? ROOT,
      clearEnv: true,
      env: cleanEnv({ ...MEMORY_ENV, ...this.#options.env }),
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const child = this.#child;
    child.status.then((status) => {
      if (child === this.#child) this.#exit = status;
    });
    this.#port = await until(() => {
      const port = this.#listening(before);
      if (port !== undefined || this.running) return port;
      throw new Error(`the server ended instead of listening:\n${this.log(before)}`);
    }, "a server that listens");
  }

  /** Sends the process a signal. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGSTOP" | "SIGCONT" = "SIGKILL"): void {
    this.#child.kill(signal);
  }

  /** Waits for the end of the process and returns its exit code. */
  async wait(): Promise<number> {
    return (await within(this.#child.status, "the server's end")).code;
  }

  /** Kills the process if it runs, and starts it again. */
  async restart(): Promise<void> {
    await this.#end();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await Deno.remove(this.folder, { recursive: true });
  }

  /** Writes the end of the log, from byte `from` on, to standard error. */
  showLog(from = 0): void {
    const text = this.log(Math.max(from, this.logSize - SHOWN_LOG_BYTES));
    Deno.stderr.writeSync(new TextEncoder().encode(`\n--- server's log ---\n${text}--- end of log ---\n`));
  }

  get #logFile(): string {
    return `${this.folder}/server.log`;
  }

  #listening(from: number): number | undefined {
    const line = this.log(from).split("\n").find((line) => line.includes('"listening"'));
    try {
      return line === undefined ? undefined : (JSON.parse(line) as { port: number }).port;
    } catch {
      return undefined; // not completely written yet
    }
  }

  async #end(): Promise<void> {
    if (this.running) this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

/** Starts a server and resolves when it listens. Use it with `await using`. */
export async function startServer(options: ServerOptions = {}): Promise<Server> {
  const server = new Server(await Deno.makeTempDir({ prefix: "chat-test-" }), options);
  try {
    await server.start();
  } catch (error) {
    if (server.running) await server[Symbol.asyncDispose]();
    else await Deno.remove(server.folder, { recursive: true });
    throw error;
  }
  return server;
}

/** Runs `body` with a server of its own, and shows the server's log when it throws. */
export async function withServer<T>(
  options: ServerOptions,
  body: (server: Server) => Promise<T>,
): Promise<T> {
  await using server = await startServer(options);
  return await showingLog(server, () => body(server));
}

/** Defines a test with a server of its own. */
export function serverTest(
  name: string,
  options: ServerOptions,
  body: (server: Server) => Promise<void>,
): void {
  Deno.test(name, () => withServer(options, body));
}

/**
 * Starts one server before the first test of a file and ends it after the last. Returns the function that
 * defines a test with it. Such a test must leave the server running.
 */
export function sharedServer(
  options: ServerOptions = {},
): (name: string, body: (server: Server) => Promise<void>) => void {
  let server: Server | undefined;
  Deno.test.beforeAll(async () => {
    server = await startServer(options);
  });
  Deno.test.afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
  });
  return (name, body) => {
    Deno.test(name, async () => {
      const shared = server!;
      await showingLog(shared, () => body(shared));
    });
  };
}

async function showingLog<T>(server: Server, body: () => Promise<T>): Promise<T> {
  const from = server.logSize;
  try {
    return await body();
  } catch (error) {
    server.showLog(from);
    throw error;
  }
}
