/**
 * Decoders turn the bytes of a connection into message bodies, for both dialects. They use neither clock nor
 * socket.
 */
import { acquireBuffer, releaseBuffer } from "./buffers.ts";
import { Errno, type Rid } from "./protocol.ts";

/** Invalid bytes or an invalid message, with the errno and the errmsg of the reply. */
export class WireError extends Error {
  override readonly name = "WireError";

  constructor(
    /** The error number of the protocol. */
    readonly errno: Errno,
    message: string,
    /** The known fields of the request, for the reply. */
    readonly about: { readonly msgid?: number; readonly rid?: Rid; readonly fatal?: boolean } = {},
  ) {
    super(message);
  }

  /** Whether the beginning of the next message is unknown, so that the server must close the connection. */
  get fatal(): boolean {
    return this.about.fatal ?? false;
  }
}

/**
 * Takes the bytes of a connection in any pieces and returns whole bodies. The caller must `push` one chunk,
 * call `next` until it returns undefined, and only then `push` the next chunk.
 */
export interface Decoder {
  /** Adds a chunk. Its bytes must not change until `next` has returned undefined. */
  push(chunk: Uint8Array): void;
  /**
   * Returns the next body, which is valid until the next call, or undefined if it needs more bytes. Returns
   * an error for invalid bytes. After a fatal error it only returns undefined. It never throws.
   */
  next(): Uint8Array | WireError | undefined;
  /** Releases all memory. The caller must not use a body or the decoder afterwards. */
  close(): void;
  /** Bytes of memory for an incomplete body: at most twice the maximum of a frame. */
  readonly bufferedBytes: number;
}

const EMPTY = new Uint8Array(0);

/**
 * A buffer for the bytes of an incomplete body. It doubles as bytes arrive, so a large length alone costs no
 * memory.
 */
export class ReassemblyBuffer {
  static readonly #INITIAL_BYTES = 256; // most messages fit
  static readonly #MAX_IDLE_BYTES = 4_096; // an empty larger buffer returns to the pool
  #bytes: Uint8Array = EMPTY; // shared by all empty ones
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get capacity(): number {
    return this.#bytes.length;
  }

  append(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#bytes.length) {
      let size = this.#bytes.length || ReassemblyBuffer.#INITIAL_BYTES;
      while (size < needed) size *= 2;
      const grown = acquireBuffer(size);
      grown.set(this.#bytes.subarray(0, this.#length));
      releaseBuffer(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = needed;
  }

  view(from = 0): Uint8Array {
    return this.#bytes.subarray(from, this.#length);
  }

  clear(): void {
    this.#length = 0;
    if (this.#bytes.length > ReassemblyBuffer.#MAX_IDLE_BYTES) this.release();
  }

  /** Releases the memory. */
  release(): void {
    this.#length = 0;
    releaseBuffer(this.#bytes);
    this.#bytes = EMPTY;
  }
}

/** The common part of both decoders: the current chunk, and the buffer for an incomplete body. */
export abstract class BufferingDecoder implements Decoder {
  protected readonly maxBodyBytes: number;
  protected readonly buffer = new ReassemblyBuffer();
  protected chunk: Uint8Array = EMPTY;
  protected offset = 0; // of the next byte in the chunk
  #isClosed = false;

  /** `maxBodyBytes` is the maximum length of a body. */
  constructor(maxBodyBytes: number) {
    this.maxBodyBytes = maxBodyBytes;
  }

  get bufferedBytes(): number {
    return this.buffer.capacity;
  }

  push(chunk: Uint8Array): void {
    this.chunk = chunk;
    this.offset = 0;
  }

  close(): void {
    this.#isClosed = true;
    this.chunk = EMPTY;
    this.buffer.release();
  }

  next(): Uint8Array | WireError | undefined {
    if (this.#isClosed) return undefined;
    const body = this.decodeNext();
    if (body === undefined) this.push(EMPTY); // an idle connection holds no chunk
    return body;
  }

  /** Does the work of {@link Decoder.next} before {@link close}. */
  protected abstract decodeNext(): Uint8Array | WireError | undefined;

  /** Returns a fatal error and closes the decoder, as the beginning of the next body is unknown. */
  protected tooLarge(text: string): WireError {
    this.close();
    return new WireError(Errno.TOO_LARGE, text, { fatal: true });
  }
}
