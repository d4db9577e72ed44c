/** One connection to a server, TCP or TLS: whole messages out and in, and a watch on whether the other side is alive. */
import { WireError } from "../wire/decoder.ts";
import { encodeFrame, FramedDecoder } from "../wire/framed.ts";
import { type Message, parseMessage } from "../wire/message.ts";
import { MAX_SERVER_FRAME_BYTES, Msg } from "../wire/protocol.ts";

/** Where a server listens. */
export interface Address {
  readonly hostname: string;
  readonly port: number;
  /** Whether it speaks TLS. Its certificate must be for `hostname`. */
  readonly tls?: TlsOptions | undefined;
}

/** Whose certificates are believed, besides those of the authorities that the runtime knows. */
export interface TlsOptions {
  /** Certificates of authorities, in PEM form. */
  readonly caCerts: readonly string[];
}

/** A message to the server. */
export type RequestMessage = { readonly msgid: number } & Readonly<Record<string, unknown>>;

/** How long to wait for the other side, in milliseconds. */
export interface Timeouts {
  /** For the connection to be made. */
  readonly connectMs: number;
  /** For anything to come, before asking with a PING whether the server is there. */
  readonly idleMs: number;
  /** For anything to come after that, before the connection is given up. */
  readonly pongMs: number;
  /** For the answer to a login or a registration. */
  readonly replyMs: number;
  /** For the server to close its side when the client has closed its own. */
  readonly closeMs: number;
}

/** Fits networks from a desk to a phone: an unplugged cable is noticed within 40 s at the cost of one PING in 30. */
export const DEFAULT_TIMEOUTS: Timeouts = {
  connectMs: 5_000,
  idleMs: 30_000,
  pongMs: 10_000,
  replyMs: 30_000, // a server that has many logins to deal with lets them queue
  closeMs: 1_000,
};

/** No server could be reached, or the connection to it ended; the message says which and why. */
export class ConnectionLostError extends Error {
  override readonly name = "ConnectionLostError";
}

const CLOSED = "the server closed the connection";
const READ_BYTES = 65_536; // bytes per read: a login's answer with all its lists comes in a few

/** An open connection. It ends by itself when the server does or is silent; then {@link closeReason} says why. */
export class ServerConnection {
  readonly #conn: Deno.Conn;
  readonly #timeouts: Timeouts;
  readonly #decoder = new FramedDecoder(MAX_SERVER_FRAME_BYTES);
  readonly #buffer = new Uint8Array(READ_BYTES);
  #lastWrite = Promise.resolve();
  #closeTimer: ReturnType<typeof setTimeout> | undefined;
  #closeReason: string | undefined;

  private constructor(conn: Deno.Conn, timeouts: Timeouts) {
    this.#conn = conn;
    this.#timeouts = timeouts;
  }

  /** Connects; rejects with {@link ConnectionLostError}, or with the signal's reason when that aborts. */
  static async open(address: Address, timeouts: Timeouts, signal: AbortSignal): Promise<ServerConnection> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeouts.connectMs);
    const stop = AbortSignal.any([signal, timeout.signal]);
    const { hostname, port, tls } = address;
    try {
      const conn = await Deno.connect({ hostname, port, signal: stop });
      conn.setNoDelay(true); // messages are small, and each is waited for
      return new ServerConnection(tls ? await upgradeToTls(conn, hostname, tls, stop) : conn, timeouts);
    } catch (error) {
      signal.throwIfAborted();
      const problem = timeout.signal.aborted
        ? `no connection within ${timeouts.connectMs} ms`
        : failureText(error);
      throw new ConnectionLostError(`${formatAddress(address)}: ${problem}`);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Why it ended, in words; undefined while it is open. */
  get closeReason(): string | undefined {
    return this.#closeReason;
  }

  /**
   * Sends a message after those sent before. Resolves when the system has taken it, or the connection has ended,
   * which is for the reading side to notice.
   */
  send(message: RequestMessage): Promise<void> {
    const frame = encodeFrame(JSON.stringify(message));
    this.#lastWrite = this.#lastWrite.then(() => this.#write(frame));
    return this.#lastWrite;
  }

  /**
   * The next message, or undefined when the connection has ended. PINGs and PONGs are dealt with and left out.
   * Only one call at a time.
   */
  async next(): Promise<Message | undefined> {
    while (this.#closeReason === undefined) {
      const body = this.#decoder.next();
      if (body === undefined) {
        await this.#readChunk();
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
    if (this.#closeReason !== undefined) return;
    this.#closeTimer = setTimeout(() => this.abort("closed"), this.#timeouts.closeMs);
    await this.#lastWrite;
    try {
      await this.#conn.closeWrite();
    } catch {
      this.abort("closed"); // it had ended already
    }
  }

  /** Ends the connection at once. The first reason given is the one kept. */
  abort(reason: string): void {
    if (this.#closeReason !== undefined) return;
    this.#closeReason = reason;
    clearTimeout(this.#closeTimer);
    this.#conn.close();
  }

  async #write(frame: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < frame.length;) at += await this.#conn.write(frame.subarray(at));
    } catch (error) {
      this.abort(failureText(error));
    }
  }

  /** Reads once. A silence is asked about with a PING, and ends the connection if it goes on. */
  async #readChunk(): Promise<void> {
    const { idleMs, pongMs } = this.#timeouts;
    let timer = setTimeout(() => {
      void this.send({ msgid: Msg.PING });
      timer = setTimeout(() => this.abort(`nothing came for ${(idleMs + pongMs) / 1_000} s`), pongMs);
    }, idleMs);
    try {
      const size = await this.#conn.read(this.#buffer);
      if (size === null) this.abort(CLOSED);
      else this.#decoder.push(this.#buffer.subarray(0, size));
    } catch (error) {
      this.abort(failureText(error));
    } finally {
      clearTimeout(timer);
    }
  }
}

/** TLS over a connection, which is closed if it can't be had, or the signal aborts before. */
async function upgradeToTls(
  tcp: Deno.TcpConn,
  hostname: string,
  tls: TlsOptions,
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
export function formatAddress({ hostname, port }: Address): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

function pong({ rid }: Message): RequestMessage {
  return rid === undefined ? { msgid: Msg.PONG } : { msgid: Msg.PONG, rid };
}

function failureText(error: unknown): string {
  if (error instanceof Deno.errors.ConnectionRefused) return "connection refused";
  if (error instanceof Deno.errors.ConnectionReset) return "the server reset the connection";
  if (error instanceof Deno.errors.UnexpectedEof) return CLOSED;
  const text = error instanceof Error ? error.message : String(error);
  // The runtime has no types for what can be wrong with TLS.
  if (text.includes("UnknownIssuer")) {
    return "the server's certificate is by no authority known here; see --ca";
  }
  if (text.includes("CaUsedAsEndEntity")) {
    return "the server's certificate is an authority's own; it needs one with basicConstraints CA:FALSE";
  }
  if (text.includes("InvalidContentType")) return "the server does not speak TLS";
  return text.replace("invalid peer certificate:", "the server's certificate is wrong:");
}
