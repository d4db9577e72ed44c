/**
 * A TCP connection to a server. It writes in the order of the calls and passes received bytes to a callback.
 */
import type { Address } from "./server.ts";
import { within } from "./wait.ts";

/** The callbacks of a connection. */
export interface ConnectionEvents {
  /** Called with received bytes, which are valid until it returns. An exception ends the connection. */
  readonly bytes: (chunk: Uint8Array) => void;
  /** Called with the reason when the connection has ended. */
  readonly end: (reason: string) => void;
}

/** Options for reading. */
export interface ReadOptions {
  /** The most bytes of one read. */
  readonly size?: number;
  /** Whether to read nothing before {@link Connection.resume} is called. */
  readonly paused?: boolean;
}

const READ_BYTES = 65_536; // bytes

/** A connection. Disposing of it closes it. */
export class Connection implements AsyncDisposable {
  /** Resolves with the reason when either side has closed the connection. */
  readonly closed: Promise<string>;
  readonly #conn: Deno.Conn;
  #resume: () => void = () => {};
  #writing: Promise<void> = Promise.resolve();

  private constructor(conn: Deno.Conn, events: ConnectionEvents, options: ReadOptions) {
    this.#conn = conn;
    const started = options.paused
      ? new Promise<void>((resolve) => this.#resume = resolve)
      : Promise.resolve();
    this.closed = started.then(() => this.#read(events, options.size ?? READ_BYTES));
  }

  /** Connects without Nagle's algorithm, so that each write of a test is a segment of its own. */
  static async open(at: Address, events: ConnectionEvents, options: ReadOptions = {}): Promise<Connection> {
    const tcp = await Deno.connect({ hostname: at.host, port: at.port });
    tcp.setNoDelay(true);
    const conn = at.ca === undefined
      ? tcp
      : await Deno.startTls(tcp, { hostname: at.host, caCerts: [at.ca] });
    return new Connection(conn, events, options);
  }

  /** Begins to read on a connection that was opened paused. */
  resume(): void {
    this.#resume();
  }

  /**
   * Writes bytes. Resolves when the kernel has taken them; rejects when the server has closed the connection.
   */
  write(bytes: Uint8Array): Promise<void> {
    const written = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    });
    this.#writing = written.catch(() => {});
    return written;
  }

  /** Closes the sending direction. Reading goes on. */
  async endWriting(): Promise<void> {
    await this.#writing;
    await this.#conn.closeWrite();
  }

  /** Closes the connection and waits for its end. */
  async close(): Promise<void> {
    try {
      this.#conn.close();
    } catch {
      // closed already
    }
    this.#resume();
    await this.closed;
    await this.#writing;
  }

  /** Waits until the server has closed the connection. */
  async serverCloses(ms?: number): Promise<void> {
    await within(this.closed, "the server to close the connection", ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #read(events: ConnectionEvents, size: number): Promise<string> {
    const buffer = new Uint8Array(size);
    let reason = "the connection was closed";
    try {
      for (let n; (n = await this.#conn.read(buffer)) !== null;) events.bytes(buffer.subarray(0, n));
    } catch (error) {
      reason = `the connection ended: ${error}`;
    }
    events.end(reason);
    return reason;
  }
}
