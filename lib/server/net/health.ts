/**
 * The health checks for load balancers and supervisors, over HTTP on a port of their own. It does not use
 * `Deno.serve`, which bounds neither the number of connections nor their duration. Untrusted clients may
 * reach the port.
 */
import { describeError, type Log, LogThrottle, MINUTE_MS } from "../../log.ts";
import { sleep } from "../../sleep.ts";

/** The most connections. A load balancer needs one for a moment. At the limit, the oldest one is closed. */
export const MAX_CONNECTIONS = 64;
/** Milliseconds for a request and its response. */
const REQUEST_TIMEOUT_MS = 2_000;
/** Bytes of the longest request, as in other servers. */
const MAX_REQUEST_BYTES = 8_192;
/** Milliseconds after a failed accept, most often for lack of a file descriptor. */
const ACCEPT_RETRY_MS = 100;

/** A response. */
interface HttpResponse {
  readonly status: string;
  readonly body: object;
  readonly headers?: readonly string[];
}

/** The server of `GET /ready` and `GET /live`. */
export class HealthServer implements AsyncDisposable {
  /** Whether load balancers should send new clients. False until the process has started. */
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

  /** Closes the listener and all connections. */
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
          await oldest![1]; // until then it has a file descriptor
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

  /** Responds to one request, and closes the connection when the client has closed it. */
  async #serve(conn: Deno.TcpConn): Promise<void> {
    const timeout = setTimeout(() => close(conn), REQUEST_TIMEOUT_MS);
    try {
      const request = await readHead(conn);
      if (request !== undefined) {
        const bytes = new TextEncoder().encode(serialize(this.#route(request)));
        for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
        await conn.closeWrite();
        // Closing with unread bytes would reset the connection, and the response would be lost.
        const rest = new Uint8Array(MAX_REQUEST_BYTES);
        while (await conn.read(rest) !== null);
      }
    } catch {
      // one of the sides has closed it
    }
    clearTimeout(timeout);
    close(conn);
  }

  #route(head: string): HttpResponse {
    const [, method, path] = /^([A-Z]+) ([^ ?]+)(?:\?[^ ]*)? HTTP\/1\.\d\r\n/.exec(head) ?? [];
    if (method === undefined) {
      return { status: "400 Bad Request", body: { error: "not an HTTP/1 request" } };
    }
    if (path !== "/ready" && path !== "/live") {
      return { status: "404 Not Found", body: { error: "not found: use /ready or /live" } };
    }
    if (method !== "GET") {
      return {
        status: "405 Method Not Allowed",
        body: { error: "method not allowed: use GET" },
        headers: ["Allow: GET"],
      };
    }
    if (path === "/live") return { status: "200 OK", body: { live: true } };
    const { ready } = this;
    return { status: ready ? "200 OK" : "503 Service Unavailable", body: { ready } };
  }
}

/**
 * Reads the head of a request. Returns undefined if the client closes before its end. Throws if it is too
 * long.
 */
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
    // it was closed before
  }
}
