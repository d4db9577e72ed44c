/**
 * A real nginx with the project's configuration, on a free port of 127.0.0.1, before the servers of a test.
 */
import { freePort } from "./ports.ts";
import { ROOT } from "./program.ts";
import type { Address } from "./server.ts";
import type { Certificate } from "./tls.ts";
import { needTool } from "./tools.ts";
import { until, within } from "./wait.ts";

const CONF = "nginx/nginx.conf";
const HOST = "127.0.0.1";
const START_TRIES = 5; // another program may take a free port before the server listens on it

/** A server behind nginx. */
export interface Backend extends Address {
  /** Whether the server gets no new connections. */
  readonly down?: boolean;
}

/** An nginx. Disposing of it ends it. */
export class Nginx implements Address, AsyncDisposable {
  readonly host = HOST;
  readonly port: number;
  readonly folder: string;
  readonly #certificate: Certificate | undefined;
  #child!: Deno.ChildProcess;
  #ended = true;

  /** Use {@link startNginx}. */
  constructor(folder: string, port: number, certificate?: Certificate) {
    this.folder = folder;
    this.port = port;
    this.#certificate = certificate;
  }

  /** The log of nginx. */
  get log(): string {
    return Deno.readTextFileSync(this.#logFile);
  }

  /** Starts the server and resolves when it listens. Rejects with its log when it ends instead. */
  async start(backends: readonly Backend[]): Promise<void> {
    await this.#configure(backends);
    await Deno.writeTextFile(this.#logFile, "");
    // The log goes to a file: reading a pipe would be a pending operation in every test that shares nginx.
    const command = `exec nginx -p "$1" -c ${CONF} -g "daemon off;" 2>"$2"`;
    const child = new Deno.Command("sh", {
      args: ["-c", command, "sh", this.folder, this.#logFile],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#child = child;
    this.#ended = false;
    child.status.then(() => this.#ended = true);
    await until(() => {
      if (this.#ended) throw new Error(`nginx ended instead of listening:\n${this.log}`);
      return this.#workers("start worker process").length > 0; // nginx has opened its sockets before
    }, "an nginx that listens");
  }

  /** Reloads with other servers or states. Resolves when no connection uses the former configuration. */
  async reload(backends: readonly Backend[]): Promise<void> {
    const before = this.#workers("start worker process");
    await this.#configure(backends);
    this.#child.kill("SIGHUP");
    await until(() => {
      const leaving = this.#pids(/\[notice\] (\d+)#\d+: gracefully shutting down/g);
      return before.every((pid) => leaving.includes(pid));
    }, "the old workers to accept no more");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGTERM");
    await within(this.#child.status, "nginx's end");
    await Deno.remove(this.folder, { recursive: true });
  }

  /** Writes the project's configuration with other addresses, and with TLS when there is a certificate. */
  async #configure(backends: readonly Backend[]): Promise<void> {
    const text = await Deno.readTextFile(new URL(CONF, ROOT));
    const servers = [...text.matchAll(/^ *server [\d.]+:\d+( .*)?;$/gm)];
    const [first] = servers;
    const listens = text.match(/^ *listen 8000\b/gm) ?? [];
    if (!first || listens.length !== 1) throw new Error(`${CONF} is not as this harness knows it`);
    let conf = text.replace(
      /\blisten 8000\b/,
      `listen ${HOST}:${this.port}${this.#certificate ? " ssl" : ""}`,
    );
    if (this.#certificate) {
      const { cert, key } = this.#certificate;
      conf = conf.replaceAll("# ssl_", "ssl_")
        .replace(/(ssl_certificate) .*;/, `$1 ${cert};`).replace(/(ssl_certificate_key) .*;/, `$1 ${key};`);
    }
    const lines = backends.map(({ host, port, down }) =>
      `    server ${host}:${port}${first[1] ?? ""}${down ? " down" : ""};`
    );
    for (const [at, [server]] of servers.entries()) {
      conf = conf.replace(server, at === 0 ? lines.join("\n") : "");
    }
    await Deno.mkdir(`${this.folder}/nginx`, { recursive: true });
    await Deno.writeTextFile(`${this.folder}/${CONF}`, conf);
  }

  #workers(event: string): string[] {
    return this.#pids(new RegExp(`: ${event} (\\d+)`, "g"));
  }

  #pids(pattern: RegExp): string[] {
    return [...this.log.matchAll(pattern)].map(([, pid]) => pid!);
  }

  get #logFile(): string {
    return `${this.folder}/error.log`;
  }
}

/** Starts an nginx before these servers and resolves when it listens. Use it with `await using`. */
export async function startNginx(backends: readonly Backend[], certificate?: Certificate): Promise<Nginx> {
  await needTool("nginx", "libnginx-mod-stream", "-v");
  for (let tries = 1;; tries++) {
    const nginx = new Nginx(await Deno.makeTempDir({ prefix: "chat-nginx-" }), freePort(), certificate);
    try {
      await nginx.start(backends);
      return nginx;
    } catch (error) {
      await nginx[Symbol.asyncDispose]();
      if (tries === START_TRIES) throw error;
    }
  }
}
