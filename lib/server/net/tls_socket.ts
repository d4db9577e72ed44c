/**
 * TLS over an accepted connection, with the same few methods. The runtime's own listener for TLS can't be
 * given another certificate, nor reads what a proxy sends in front of the handshake; `TLSSocket` over a
 * stream of ours can both. Over a socket of `node:net` it would be faster, but take in without bound what is
 * not read (seen with Deno 2.9).
 */
import type { Socket as NodeSocket } from "node:net";
import { Duplex } from "node:stream";
import { setImmediate } from "node:timers";
import { type SecureContext, TLSSocket } from "node:tls";
import type { ProxyHeaderReader, Socket } from "./connection_context.ts";

const MIN_READ_BYTES = 1_024; // bytes: all that an idle connection holds for reading
const MAX_READ_BYTES = 16_384; // bytes: a TLS record has as many
const MAX_WRITE_BYTES = 65_536; // bytes given to TLS at once, so that a slow reader is seen to take something

/** What a TLS connection begins with. */
export interface TlsSocketOptions {
  readonly secureContext: SecureContext;
  /** Is given what stands in front of the handshake. */
  readonly proxyHeader: ProxyHeaderReader;
  /** Told why there is no handshake, if one was begun. */
  onHandshakeError(error: Error): void;
}

/** One client's TLS connection. Only one call of {@link read} at a time. */
export class TlsSocket implements Socket {
  readonly #socket: Deno.TcpConn;
  readonly #options: TlsSocketOptions;
  #cipher: CipherStream | undefined; // these two once the handshake has begun
  #tls: TLSSocket | undefined;
  #plaintext: Uint8Array[] = []; // decrypted, and not read yet
  #isSecure = false;
  #isEnded = false;
  #error: Error | undefined;
  #resumeRead: (() => void) | undefined; // for `read`, where it waits

  /** TLS over `socket`, which belongs to it from now on. */
  constructor(socket: Deno.TcpConn, options: TlsSocketOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** As `Deno.Conn` has it. Rejects if the handshake fails, or the preface is refused. */
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

  /** Resolves, to how many of the bytes it took, when the system has them encrypted. */
  write(bytes: Uint8Array): Promise<number> {
    const chunk = bytes.subarray(0, MAX_WRITE_BYTES);
    return new Promise((resolve, reject) => {
      if (!this.#tls) throw new Error("there is no handshake");
      this.#tls.write(chunk, (error) => error ? reject(error) : resolve(chunk.length));
    });
  }

  /**
   * Says that nothing more will be written; the other side still may. It isn't waited for the other side to
   * hear it.
   */
  closeWrite(): Promise<void> {
    if (!this.#isSecure) return Promise.reject(new Error("there is no handshake"));
    this.#tls?.end();
    return Promise.resolve();
  }

  close(): void {
    this.#tls?.destroy();
    if (this.#cipher) this.#cipher.destroy();
    else this.#socket.close();
  }

  /** Waits for the handshake's first bytes: until then this costs no more than it would without TLS. */
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
    // The types ask for a socket, but Node's documentation has it that any stream will do.
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
    // It starts at the next tick. If there were bytes by then, and wrong ones, the runtime would fail in a
    // way that can't be caught (seen with Deno 2.9).
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
 * The encrypted side. It reads only when it is told to: what is not wanted stays in the kernel, and holds up
 * its sender.
 */
class CipherStream extends Duplex {
  readonly #socket: Deno.TcpConn;
  #buffer = new Uint8Array(MIN_READ_BYTES);
  #isReading = false;

  constructor(socket: Deno.TcpConn) {
    super();
    this.#socket = socket;
  }

  /** Reads as long as `wanted` says so. */
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
      // the runtime had closed it
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
