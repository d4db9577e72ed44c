/** A connection to a server by TCP or TLS, with whole messages and a keep-alive. */
import { WireError } from "../wire/decoder.ts";
import { encodeFrame, FramedDecoder } from "../wire/framed.ts";
import { type Message, parseMessage } from "../wire/message.ts";
import { MAX_SERVER_FRAME_BYTES, Msg } from "../wire/protocol.ts";
import { messageOf } from "./message_of.ts";

/** The address of a server. */
export interface Address {
  readonly hostname: string;
  readonly port: number;
  /** TLS options, for a server with TLS. Its certificate must be for `hostname`. */
  readonly tls?: TlsOptions | undefined;
}

/** Trusted certificate authorities besides those of the runtime. */
export interface TlsOptions {
  /** CA certificates in PEM form. */
  readonly caCerts: readonly string[];
}

/** A message to the server. */
export type RequestMessage = { readonly msgid: number } & Readonly<Record<string, unknown>>;

/** The timeouts of a connection, in milliseconds. */
export interface Timeouts {
  /** For connecting. */
  readonly connectMs: number;
  /** For the next bytes, before the client sends a PING. */
  readonly idleMs: number;
  /** For the next bytes after the PING, before the client closes the connection. */
  readonly pongMs: number;
  /** For the reply to a login or a registration. */
  readonly replyMs: number;
  /** For the server to close its side after the client has closed its own. */
  readonly closeMs: number;
}

/** Default timeouts, for wired and mobile networks. The client detects a dead connection within 40 s. */
export const DEFAULT_TIMEOUTS: Timeouts = {
  connectMs: 5_000,
  idleMs: 30_000,
  pongMs: 10_000,
  replyMs: 30_000, // a busy server queues logins
  closeMs: 1_000,
};

/**
 * A server that is unreachable, or the loss of its connection. The message names the server and the reason.
 */
export class ConnectionLostError extends Error {
  override readonly name = "ConnectionLostError";
}

const CLOSED = "the server closed the connection";
const READ_BYTES = 65_536; // per read; the reply to a login with all its lists takes a few

/**
 * An open connection. It closes if the server closes it or is silent, and {@link closeReason} has the reason.
 */
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

  /** Connects. Rejects with {@link ConnectionLostError}, or with the signal's reason if it aborts. */
  static async open(address: Address, timeouts: Timeouts, signal: AbortSignal): Promise<ServerConnection> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeouts.connectMs);
    const stop = AbortSignal.any([signal, timeout.signal]);
    const { hostname, port, tls } = address;
    try {
      const conn = await Deno.connect({ hostname, port, signal: stop });
      conn.setNoDelay(true); // messages are small, and users wait for them
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

  /** The reason of the end, or undefined while the connection is open. */
  get closeReason(): string | undefined {
    return this.#closeReason;
  }

  /**
   * Sends a message after all earlier ones. Resolves when the system has accepted it, or when the connection
   * has ended. Only {@link next} reports the end.
   */
  send(message: RequestMessage): Promise<void> {
    const frame = encodeFrame(JSON.stringify(message));
    this.#lastWrite = this.#lastWrite.then(() => this.#write(frame));
    return this.#lastWrite;
  }

  /**
   * Returns the next message, or undefined at the end of the connection. It handles PING and PONG itself.
   * Only one call may run at a time.
   */
  async next(): Promise<Message | undefined> {
    while (this.#closeReason === undefined) {
      const body = this.#decoder.next();
      if (body === undefined) {
        await this.#readChunk();
        continue;
      }
      const message = body instanceof WireError ? body : parseMessage(body);
      if (message instanceof WireError) this.abort(`invalid message from the server: ${message.message}`);
      else if (message.msgid === Msg.PING) void this.send(pong(message));
      else if (message.msgid !== Msg.PONG) return message;
    }
    return undefined;
  }

  /**
   * Closes this side after all sent messages, and gives the server {@link Timeouts.closeMs} to close the
   * other. The caller must still read with {@link next} until then.
   */
  async close(): Promise<void> {
    if (this.#closeReason !== undefined) return;
    this.#closeTimer = setTimeout(() => this.abort("closed"), this.#timeouts.closeMs);
    await this.#lastWrite;
    try {
      await this.#conn.closeWrite();
    } catch {
      this.abort("closed"); // the connection had already ended
    }
  }

  /** Closes the connection at once. Only the first call sets the reason. */
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

  /** Reads once. Sends a PING after a silence, and closes the connection after a further one. */
  async #readChunk(): Promise<void> {
    const { idleMs, pongMs } = this.#timeouts;
    let timer = setTimeout(() => {
      void this.send({ msgid: Msg.PING });
      timer = setTimeout(() => this.abort(`no data for ${(idleMs + pongMs) / 1_000} s`), pongMs);
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

/** Starts TLS on a connection. Closes the connection if that fails or the signal aborts. */
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

/** Returns an address in the form HOST:PORT. */
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
  const text = messageOf(error);
  // The runtime has no error types for faults of TLS.
  if (text.includes("UnknownIssuer")) {
    return "no known authority issued the server's certificate; --ca names further ones";
  }
  if (text.includes("CaUsedAsEndEntity")) {
    return "the server's certificate is a CA's; the server needs one with basicConstraints CA:FALSE";
  }
  if (text.includes("InvalidContentType")) return "the server does not speak TLS";
  return text.replace("invalid peer certificate:", "invalid server certificate:");
}
