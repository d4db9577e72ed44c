/** A TCP connection to a server: bytes out in the order of the calls, bytes in to a callback. */
import type { Address } from "./server.ts";
import { within } from "./wait.ts";

/** What a connection tells its owner. */
export interface ConnectionEvents {
  /** Bytes have come; they are the callback's until it returns. Its exception ends the connection. */
  readonly bytes: (chunk: Uint8Array) => void;
  /** Nothing more will come, because of `why`. */
  readonly end: (why: string) => void;
}

/** How a connection reads. */
export interface ReadOptions {
  /** Bytes that one read takes at most. */
  readonly size?: number;
  /** Reads nothing before {@link Connection.resume} is called. */
  readonly paused?: boolean;
}

const READ_BYTES = 65_536; // bytes

/** One connection. Dispose of it, or close it, when done. */
export class Connection implements AsyncDisposable {
  /** Resolves with the reason when nothing more can come: the server has closed, or this side has. */
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

  /** Connects. Small writes leave at once, so that a test's segments are the ones it writes. */
  static async open(at: Address, events: ConnectionEvents, options: ReadOptions = {}): Promise<Connection> {
    const tcp = await Deno.connect({ hostname: at.host, port: at.port });
    tcp.setNoDelay(true);
    const conn = at.ca === undefined
      ? tcp
      : await Deno.startTls(tcp, { hostname: at.host, caCerts: [at.ca] });
    return new Connection(conn, events, options);
  }

  /** Begins to read, where it was opened paused. */
  resume(): void {
    this.#resume();
  }

  /** Resolves when the system has taken the bytes; rejects when the server has closed. */
  write(bytes: Uint8Array): Promise<void> {
    const written = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    });
    this.#writing = written.catch(() => {});
    return written;
  }

  /** Says that nothing more will be written; what the server still sends can be read. */
  async endWriting(): Promise<void> {
    await this.#writing;
    await this.#conn.closeWrite();
  }

  /** Closes it and resolves when nothing of it is left. */
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

  /** Resolves when the server has closed the connection. */
  async serverCloses(ms?: number): Promise<void> {
    await within(this.closed, "the server to close the connection", ms);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #read(events: ConnectionEvents, size: number): Promise<string> {
    const buffer = new Uint8Array(size);
    let why = "the connection was closed";
    try {
      for (let n; (n = await this.#conn.read(buffer)) !== null;) events.bytes(buffer.subarray(0, n));
    } catch (error) {
      why = `the connection ended: ${error}`;
    }
    events.end(why);
    return why;
  }
}
