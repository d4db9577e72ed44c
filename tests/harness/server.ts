/** A real server in a process of its own, on a free port of 127.0.0.1 and in a folder that goes with it. */
import { residentBytes } from "./process.ts";
import { cleanEnv, ROOT } from "./program.ts";
import { until, within } from "./wait.ts";

/** How to start a server. */
export interface ServerOptions {
  /** Options of the command line, besides where it listens and the database. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What Deno lets it do; everything if it isn't given. */
  readonly permissions?: readonly string[];
  /** The database's file; one in the server's own folder if it isn't given. */
  readonly db?: string;
  /** Whether it is not told of a database's file at all. */
  readonly usualDb?: boolean;
  /** The port; any free one if it isn't given. */
  readonly port?: number;
  /** The source tree that it runs from; this one if it isn't given. */
  readonly root?: string;
  /** What makes its clients speak TLS; see {@link Address}. `args` must give it a certificate. */
  readonly ca?: string;
  /** KiB that each of its files may grow to, as if the disk were full then; no bound if it isn't given. */
  readonly diskKib?: number;
  /** The permissions that its files do not get, in octal; those of the tests if it isn't given. */
  readonly umask?: string;
  /** Files that it may have open; as many as this process if it isn't given. */
  readonly openFiles?: number;
}

/** A cost that makes hashing a password take well under a millisecond: tests register by the hundred. */
const CHEAP_HASH = "4";

/** Sessions may send as fast as they can, where that isn't what is tested. */
const UNLIMITED = "0";

const SHOWN_LOG_BYTES = 16_384; // bytes of the log's end that are shown when a test fails

const BLOCKS_PER_KIB = 2; // POSIX: `ulimit -f` counts blocks of 512 bytes

/** Where a server listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** Makes clients speak TLS, and trust certificates that this one, in PEM form, stands for. */
  readonly ca?: string | undefined;
}

/** One server. It is the same server after a restart: same port, same database, same log. */
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

  /** Bytes of memory that the server holds. */
  get memory(): number {
    return residentBytes(this.pid);
  }

  /** The log's bytes so far, for {@link log} to begin after. */
  get logSize(): number {
    return Deno.statSync(this.#logFile).size;
  }

  /** What the server has written to its standard output and error, from byte `from` on. */
  log(from = 0): string {
    return new TextDecoder().decode(Deno.readFileSync(this.#logFile).subarray(from));
  }

  /** Starts it and resolves when it listens; rejects, with its log, when it ends instead. */
  async start(): Promise<void> {
    const given = this.#options.args ?? [];
    const hash = given.includes("--scrypt-ln") ? [] : ["--scrypt-ln", CHEAP_HASH];
    const rate = given.includes("--message-rate") ? [] : ["--message-rate", UNLIMITED];
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
    // The log goes to a file and not through a pipe: reading a pipe would be an operation under way in every
    // test that shares the server, and it might not be read. `exec` keeps the process id.
    const { diskKib, openFiles, umask } = this.#options;
    // Without the trap the system would end a process whose file has grown too far, and not just refuse to write.
    const disk = diskKib === undefined ? "" : `trap "" XFSZ; ulimit -f ${diskKib * BLOCKS_PER_KIB}; `;
    const files = openFiles === undefined ? "" : `ulimit -n ${openFiles}; `;
    const mask = umask === undefined ? "" : `umask ${umask}; `;
    const script = `${disk}${files}${mask}log="$1"; shift; exec "$@" >>"$log" 2>&1`;
    this.#exit = undefined;
    this.#child = new Deno.Command("sh", {
      args: ["-c", script, "sh", this.#logFile, ...command],
      cwd: this.#options.root ?? ROOT,
      clearEnv: true,
      env: cleanEnv(this.#options.env),
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

  /** Sends it a signal. */
  kill(signal: "SIGKILL" | "SIGTERM" | "SIGINT" | "SIGHUP" | "SIGSTOP" | "SIGCONT" = "SIGKILL"): void {
    this.#child.kill(signal);
  }

  /** Resolves with the exit code when it has ended, by itself or by a signal sent to it. */
  async wait(): Promise<number> {
    return (await within(this.#child.status, "the server's end")).code;
  }

  /** Kills it, if it still runs, and starts it again. */
  async restart(): Promise<void> {
    await this.#end();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    await Deno.remove(this.folder, { recursive: true });
  }

  /** Writes the end of the log, from byte `from` on, to standard error, to explain a failure. */
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
      return undefined; // not written whole yet
    }
  }

  async #end(): Promise<void> {
    if (this.running) this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

/** Starts a server and resolves when it listens. Dispose of it when done: `await using`. */
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

/** Runs `body` with a server of its own; shows the server's log if it throws. */
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
 * One server for all tests of a file, started before the first and ended after the last; returns what defines
 * a test that uses it. Such a test must leave the server running.
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
