/**
 * Tells load balancers and supervisors how this process is, over HTTP on a port of its own. By hand, and not
 * by `Deno.serve`, which bounds neither the number of connections nor their patience: strangers may reach the
 * port too.
 */
import { describeError, type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import { sleep } from "../../sleep.ts";

/** Connections at once; a load balancer needs one for a moment. For one more the oldest is closed. */
export const MAX_CONNECTIONS = 64;
const REQUEST_TIMEOUT_MS = 2_000; // ms for a request to come and its answer to be read
const MAX_REQUEST_BYTES = 8_192; // bytes of a request, as other servers have it
const ACCEPT_RETRY_MS = 100; // ms after a failed accept (most often: no file descriptor left)

/** What is answered. */
interface HttpResponse {
  readonly status: string;
  readonly body: object;
  readonly headers?: readonly string[];
}

/** `GET /ready` and `GET /live`. */
export class HealthServer implements AsyncDisposable {
  /** Whether new connections are welcome. Not so before it is said, as the process is starting then. */
  ready = false;
  readonly #listener: Deno.TcpListener;
  readonly #log: Log;
  readonly #acceptFailureLog = new LogThrottle(MINUTE_MS);
  readonly #conns = new Map<Deno.TcpConn, Promise<void>>(); // each with its end
  readonly #accepting: Promise<void>;
  #isClosing = false;

  /** Listens. Throws what `Deno.listen` throws. */
  constructor(hostname: string, port: number, log: Log) {
    this.#listener = Deno.listen({ hostname, port });
    this.#log = log;
    this.#accepting = this.#accept();
  }

  /** Closes it and all of its connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    this.#listener.close();
    await this.#accepting;
    for (const conn of this.#conns.keys()) close(conn);
    await Promise.all(this.#conns.values());
  }

  async #accept(): Promise<void> {
    while (!this.#isClosing) {
      try {
        const conn = await this.#listener.accept();
        if (this.#conns.size >= MAX_CONNECTIONS) {
          const [oldest] = this.#conns;
          close(oldest![0]);
          await oldest![1]; // until then it has a descriptor: many may come at once
        }
        this.#conns.set(conn, this.#serve(conn).finally(() => this.#conns.delete(conn)));
      } catch (error) {
        if (this.#isClosing) return;
        this.#acceptFailureLog.log((count) =>
          this.#log.error("accept failed on the health port", { error: describeError(error), count })
        );
        await sleep(ACCEPT_RETRY_MS);
      }
    }
  }

  /** Answers one request, and closes when the other side has. */
  async #serve(conn: Deno.TcpConn): Promise<void> {
    const timeout = setTimeout(() => close(conn), REQUEST_TIMEOUT_MS);
    try {
      const request = await readHead(conn);
      if (request !== undefined) {
        const bytes = new TextEncoder().encode(serialize(this.#route(request)));
        for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
        await conn.closeWrite();
        // Closing with bytes unread would reset the connection, and take the answer with it.
        const rest = new Uint8Array(MAX_REQUEST_BYTES);
        while (await conn.read(rest) !== null);
      }
    } catch {
      // it was closed, by either side
    }
    clearTimeout(timeout);
    close(conn);
  }

  #route(head: string): HttpResponse {
    const [, method, path] = /^([A-Z]+) ([^ ?]+)(?:\?[^ ]*)? HTTP\/1\.\d\r\n/.exec(head) ?? [];
    if (method === undefined) {
      return { status: "400 Bad Request", body: { error: "not a request of HTTP/1" } };
    }
    if (path !== "/ready" && path !== "/live") {
      return { status: "404 Not Found", body: { error: "there are /ready and /live" } };
    }
    if (method !== "GET") {
      return { status: "405 Method Not Allowed", body: { error: "only GET" }, headers: ["Allow: GET"] };
    }
    if (path === "/live") return { status: "200 OK", body: { live: true } };
    const { ready } = this;
    return { status: ready ? "200 OK" : "503 Service Unavailable", body: { ready } };
  }
}

/** A request's line and headers; undefined if the other side closes before. Throws if they are too long. */
async function readHead(conn: Deno.TcpConn): Promise<string | undefined> {
  const decoder = new TextDecoder("latin1");
  const buffer = new Uint8Array(MAX_REQUEST_BYTES);
  let head = "";
  while (!head.includes("\r\n\r\n")) {
    const size = await conn.read(buffer);
    if (size === null) return undefined;
    head += decoder.decode(buffer.subarray(0, size));
    if (head.length > MAX_REQUEST_BYTES) throw new Error("too long");
  }
  return head;
}

function serialize({ status, body, headers = [] }: HttpResponse): string {
  const text = `${JSON.stringify(body)}\n`;
  return [
    `HTTP/1.1 ${status}`,
    "Content-Type: application/json",
    `Content-Length: ${text.length}`,
    "Cache-Control: no-store",
    "Connection: close",
    ...headers,
    "",
    text,
  ].join("\r\n");
}

function close(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // it is closed already
  }
}
