/**
 * TLS over an accepted connection, with the methods of a plain socket. The runtime's TLS listener can neither
 * change its certificate nor read a PROXY header before the handshake. `TLSSocket` over a stream of our own
 * can do both. Over a socket of `node:net` it would be faster, but would buffer unread bytes without bound
 * (seen with Deno 2.9).
 */
import type { Socket as NodeSocket } from "node:net";
import { Duplex } from "node:stream";
import { setImmediate } from "node:timers";
import { type SecureContext, TLSSocket } from "node:tls";
import type { ProxyHeaderReader, Socket } from "./connection_context.ts";

/** Bytes of the read buffer of an idle connection. */
const MIN_READ_BYTES = 1_024;
/** Bytes of the largest read buffer: the size of a TLS record. */
const MAX_READ_BYTES = 16_384;
/** Bytes per write to TLS, so that the write-stall timeout sees the progress of a slow client. */
const MAX_WRITE_BYTES = 65_536;

/** The options of a TLS connection. */
export interface TlsSocketOptions {
  readonly secureContext: SecureContext;
  /** Reads the PROXY header before the handshake. */
  readonly proxyHeader: ProxyHeaderReader;
  /** Called when a handshake fails. */
  onHandshakeError(error: Error): void;
}

/** A TLS connection of a client. At most one call of {@link read} may be in progress. */
export class TlsSocket implements Socket {
  readonly #socket: Deno.TcpConn;
  readonly #options: TlsSocketOptions;
  #cipher: CipherStream | undefined; // undefined before the handshake, as is #tls
  #tls: TLSSocket | undefined;
  #plaintext: Uint8Array[] = []; // decrypted bytes that are not read yet
  #isSecure = false;
  #isEnded = false;
  #error: Error | undefined;
  #resumeRead: (() => void) | undefined; // resumes `read` where it waits

  /** Takes over `socket`. */
  constructor(socket: Deno.TcpConn, options: TlsSocketOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** Reads as `Deno.Conn` does. Rejects if the handshake fails or the PROXY header is refused. */
  async read(into: Uint8Array): Promise<number | null> {
    const cipher = this.#cipher ??= await this.#awaitHandshake();
    if (!cipher) return null;
    for (;;) {
      const [bytes] = this.#plaintext;
      if (bytes) {
        const size = Math.min(bytes.length, into.length);
        into.set(bytes.subarray(0, size));
        if (size < bytes.length) this.#plaintext[0] = bytes.subarray(size);
        else this.#plaintext.shift();
        return size;
      }
      if (this.#error) throw this.#error;
      if (this.#isEnded) return null;
      await new Promise<void>((resolve) => {
        this.#resumeRead = resolve;
        void cipher.readWhile(() => this.#resumeRead !== undefined);
      });
    }
  }

  /**
   * Writes the first {@link MAX_WRITE_BYTES} of the bytes, or all. Resolves to the number of bytes when the
   * socket has taken their encrypted form. Rejects before the handshake has started.
   */
  write(bytes: Uint8Array): Promise<number> {
    const chunk = bytes.subarray(0, MAX_WRITE_BYTES);
    return new Promise((resolve, reject) => {
      if (!this.#tls) throw new Error("Cannot write: the TLS handshake has not started");
      this.#tls.write(chunk, (error) => error ? reject(error) : resolve(chunk.length));
    });
  }

  /**
   * Closes the sending side. The client may still send. Resolves before the client has received the close.
   * Rejects before the handshake is complete.
   */
  closeWrite(): Promise<void> {
    if (!this.#isSecure) {
      return Promise.reject(new Error("Cannot close the sending side: the TLS handshake is not complete"));
    }
    this.#tls?.end();
    return Promise.resolve();
  }

  close(): void {
    this.#tls?.destroy();
    if (this.#cipher) this.#cipher.destroy();
    else this.#socket.close();
  }

  /**
   * Waits for the first bytes of the handshake, and starts it. Resolves to undefined if the client closes
   * first. Until then the connection costs no more than one without TLS.
   */
  async #awaitHandshake(): Promise<CipherStream | undefined> {
    const buffer = new Uint8Array(MIN_READ_BYTES);
    let proxyHeader: ProxyHeaderReader | undefined = this.#options.proxyHeader;
    for (let size; (size = await this.#socket.read(buffer)) !== null;) {
      const read = buffer.subarray(0, size);
      const bytes = proxyHeader ? proxyHeader.stripHeader(read) : read;
      if (bytes) proxyHeader = undefined;
      if (bytes && bytes.length > 0) return this.#startHandshake(bytes);
    }
    return undefined;
  }

  async #startHandshake(first: Uint8Array): Promise<CipherStream> {
    const cipher = new CipherStream(this.#socket);
    // The types require a socket, but according to Node's documentation any stream works.
    const tls = new TLSSocket(cipher as Duplex as NodeSocket, {
      isServer: true,
      secureContext: this.#options.secureContext,
    });
    tls.on("secure", () => this.#isSecure = true);
    tls.on("data", (bytes: Uint8Array) => this.#update(() => this.#plaintext.push(bytes)));
    for (const event of ["end", "close"]) tls.on(event, () => this.#update(() => this.#isEnded = true));
    tls.on("error", (error: Error) => {
      if (!this.#isSecure && !this.#error) this.#options.onHandshakeError(error);
      this.#update(() => this.#error ??= error);
    });
    cipher.on("error", (error) => this.#update(() => this.#error ??= error));
    this.#tls = tls;
    // TLSSocket starts at the next tick. Invalid bytes before that make the runtime fail with an error that
    // cannot be caught (seen with Deno 2.9).
    await new Promise<void>((resolve) => setImmediate(resolve));
    cipher.push(first);
    return cipher;
  }

  #update(change: () => void): void {
    change();
    this.#resumeRead?.();
    this.#resumeRead = undefined;
  }
}

/**
 * The stream of encrypted bytes. It reads only on demand, so that unread bytes block the sender
 * (backpressure).
 */
class CipherStream extends Duplex {
  readonly #socket: Deno.TcpConn;
  #buffer = new Uint8Array(MIN_READ_BYTES);
  #isReading = false;

  constructor(socket: Deno.TcpConn) {
    super();
    this.#socket = socket;
  }

  /** Reads as long as `isWanted` returns true. */
  async readWhile(isWanted: () => boolean): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      for (let size: number | null = 0; size !== null && isWanted() && !this.destroyed;) {
        size = await this.#socket.read(this.#buffer);
        this.push(size === null ? null : this.#buffer.slice(0, size));
        this.#resizeBuffer(size ?? 0);
      }
    } catch (error) {
      this.destroy(error as Error);
    }
    this.#isReading = false;
  }

  override _read(): void {} // see readWhile

  override _write(bytes: Uint8Array, _: string, done: (error?: Error) => void): void {
    this.#writeAll(bytes).then(() => done(), done);
  }

  override _final(done: (error?: Error) => void): void {
    this.#socket.closeWrite().then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    try {
      this.#socket.close();
    } catch {
      // the runtime has closed it
    }
    done(error);
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#socket.write(bytes.subarray(at));
  }

  #resizeBuffer(size: number): void {
    const { length } = this.#buffer;
    if (size === length && length < MAX_READ_BYTES) this.#buffer = new Uint8Array(length * 4);
    else if (size < length / 8 && length > MIN_READ_BYTES) this.#buffer = new Uint8Array(length / 4);
  }
}
