/** One connection to a server, TCP or TLS: whole messages out and in, and a watch on whether the other side is alive. */
import { WireError } from "../wire/decoder.ts";
import { encodeFrame, FramedDecoder } from "../wire/framed.ts";
import { type Message, parseMessage } from "../wire/message.ts";
import { MAX_SERVER_FRAME, Msg } from "../wire/protocol.ts";

/** Where a server listens. */
export interface Address {
  readonly hostname: string;
  readonly port: number;
  /** Whether it speaks TLS. Its certificate must be for `hostname`. */
  readonly tls?: Tls | undefined;
}

/** Whose certificates are believed, besides those of the authorities that the runtime knows. */
export interface Tls {
  /** Certificates of authorities, in PEM form. */
  readonly caCerts: readonly string[];
}

/** A message to the server. */
export type Request = { readonly msgid: number } & Readonly<Record<string, unknown>>;

/** How long to wait for the other side, in milliseconds. */
export interface Patience {
  /** For the connection to be made. */
  readonly connect: number;
  /** For anything to come, before asking with a PING whether the server is there. */
  readonly quiet: number;
  /** For anything to come after that, before the connection is given up. */
  readonly pong: number;
  /** For the answer to a login or a registration. */
  readonly reply: number;
  /** For the server to close its side when the client has closed its own. */
  readonly linger: number;
}

/** Fits networks from a desk to a phone: an unplugged cable is noticed within 40 s at the cost of one PING in 30. */
export const PATIENCE: Patience = {
  connect: 5_000,
  quiet: 30_000,
  pong: 10_000,
  reply: 30_000, // a server that has many logins to deal with lets them queue
  linger: 1_000,
};

/** No server could be reached, or the connection to it ended; the message says which and why. */
export class ConnectionLost extends Error {
  override readonly name = "ConnectionLost";
}

const CLOSED = "the server closed the connection";
const READ_SIZE = 65_536; // bytes per read: a login's answer with all its lists comes in a few

/** An open connection. It ends by itself when the server does or is silent; then {@link why} says why. */
export class Connection {
  readonly #conn: Deno.Conn;
  readonly #patience: Patience;
  readonly #decoder = new FramedDecoder(MAX_SERVER_FRAME);
  readonly #buffer = new Uint8Array(READ_SIZE);
  #written = Promise.resolve();
  #linger: ReturnType<typeof setTimeout> | undefined;
  #why: string | undefined;

  private constructor(conn: Deno.Conn, patience: Patience) {
    this.#conn = conn;
    this.#patience = patience;
  }

  /** Connects; rejects with {@link ConnectionLost}, or with the signal's reason when that aborts. */
  static async open(address: Address, patience: Patience, signal: AbortSignal): Promise<Connection> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), patience.connect);
    const stop = AbortSignal.any([signal, late.signal]);
    const { hostname, port, tls } = address;
    try {
      const conn = await Deno.connect({ hostname, port, signal: stop });
      conn.setNoDelay(true); // messages are small, and each is waited for
      return new Connection(tls ? await secure(conn, hostname, tls, stop) : conn, patience);
    } catch (error) {
      signal.throwIfAborted();
      const why = late.signal.aborted ? `no connection within ${patience.connect} ms` : reason(error);
      throw new ConnectionLost(`${nameOf(address)}: ${why}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Why it ended, in words; undefined while it is open. */
  get why(): string | undefined {
    return this.#why;
  }

  /**
   * Sends a message after those sent before. Resolves when the system has taken it, or the connection has ended,
   * which is for the reading side to notice.
   */
  send(message: Request): Promise<void> {
    const frame = encodeFrame(JSON.stringify(message));
    this.#written = this.#written.then(() => this.#write(frame));
    return this.#written;
  }

  /**
   * The next message, or undefined when the connection has ended. PINGs and PONGs are dealt with and left out.
   * Only one call at a time.
   */
  async next(): Promise<Message | undefined> {
    while (this.#why === undefined) {
      const body = this.#decoder.next();
      if (body === undefined) {
        await this.#fill();
        continue;
      }
      const message = body instanceof WireError ? body : parseMessage(body);
      if (message instanceof WireError) this.abort(`the server sent something wrong: ${message.message}`);
      else if (message.msgid === Msg.PING) void this.send(pong(message));
      else if (message.msgid !== Msg.PONG) return message;
    }
    return undefined;
  }

  /**
   * Says goodbye after what has been sent: closes this side and gives the server a moment to take it all in
   * and close the other. What it sends until then must still be read with {@link next}.
   */
  async close(): Promise<void> {
    if (this.#why !== undefined) return;
    this.#linger = setTimeout(() => this.abort("closed"), this.#patience.linger);
    await this.#written;
    try {
      await this.#conn.closeWrite();
    } catch {
      this.abort("closed"); // it had ended already
    }
  }

  /** Ends the connection at once. The first reason given is the one kept. */
  abort(why: string): void {
    if (this.#why !== undefined) return;
    this.#why = why;
    clearTimeout(this.#linger);
    this.#conn.close();
  }

  async #write(frame: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < frame.length;) at += await this.#conn.write(frame.subarray(at));
    } catch (error) {
      this.abort(reason(error));
    }
  }

  /** Reads once. A silence is asked about with a PING, and ends the connection if it goes on. */
  async #fill(): Promise<void> {
    const { quiet, pong } = this.#patience;
    let timer = setTimeout(() => {
      void this.send({ msgid: Msg.PING });
      timer = setTimeout(() => this.abort(`nothing came for ${(quiet + pong) / 1_000} s`), pong);
    }, quiet);
    try {
      const size = await this.#conn.read(this.#buffer);
      if (size === null) this.abort(CLOSED);
      else this.#decoder.push(this.#buffer.subarray(0, size));
    } catch (error) {
      this.abort(reason(error));
    } finally {
      clearTimeout(timer);
    }
  }
}

/** TLS over a connection, which is closed if it can't be had, or the signal aborts before. */
async function secure(
  tcp: Deno.TcpConn,
  hostname: string,
  tls: Tls,
  signal: AbortSignal,
): Promise<Deno.Conn> {
  let conn: Deno.Conn = tcp;
  const close = () => conn.close();
  signal.addEventListener("abort", close, { once: true });
  try {
    const secured = conn = await Deno.startTls(tcp, { hostname, caCerts: [...tls.caCerts] });
    await secured.handshake();
    return conn;
  } catch (error) {
    if (!signal.aborted) close();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/** An address as users write it. */
export function nameOf({ hostname, port }: Address): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

function pong({ rid }: Message): Request {
  return rid === undefined ? { msgid: Msg.PONG } : { msgid: Msg.PONG, rid };
}

function reason(error: unknown): string {
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused";
  if (error instanceof Deno.errors.ConnectionReset) return "the server reset the connection";
  if (error instanceof Deno.errors.UnexpectedEof) return CLOSED;
  const words = error instanceof Error ? error.message : String(error);
  // The runtime has no types for what can be wrong with TLS.
  if (words.includes("UnknownIssuer")) {
    return "the server's certificate is by no authority known here; see --ca";
  }
  if (words.includes("CaUsedAsEndEntity")) {
    return "the server's certificate is an authority's own; it needs one with basicConstraints CA:FALSE";
  }
  if (words.includes("InvalidContentType")) return "the server does not speak TLS";
  return words.replace("invalid peer certificate:", "the server's certificate is wrong:");
}
