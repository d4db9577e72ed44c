/**
 * What turns a connection's bytes into the bodies of its messages, whichever dialect it speaks. Decoders are
 * pure: bytes in, bodies or errors out, no clock and no socket.
 */
import { acquireBuffer, releaseBuffer } from "./buffers.ts";
import { Errno, type Rid } from "./protocol.ts";

/** What is wrong with bytes or with a message: the error number and the words that go into the answer. */
export class WireError extends Error {
  override readonly name = "WireError";

  constructor(
    /** The protocol's number for it. */
    readonly errno: Errno,
    message: string,
    /** What is known of the request, to address the answer. */
    readonly about: { readonly msgid?: number; readonly rid?: Rid; readonly fatal?: boolean } = {},
  ) {
    super(message);
  }

  /** Whether the place where the next message begins is lost, so that the connection must end. */
  get fatal(): boolean {
    return this.about.fatal ?? false;
  }
}

/**
 * Takes the bytes of a connection in any pieces and gives out whole bodies. Use: `push` one chunk, then call
 * `next` until it answers undefined, and only then `push` again.
 */
export interface Decoder {
  /** Hands over bytes. They must stay as they are until `next` has answered undefined. */
  push(chunk: Uint8Array): void;
  /**
   * The next body; it is valid until the next call. Or what is wrong with the next bytes: after an error that
   * is fatal nothing more comes. Or undefined when more bytes are needed. It never throws.
   */
  next(): Uint8Array | WireError | undefined;
  /** Nothing more is pushed, and no body is looked at any more. */
  close(): void;
  /** Bytes held in memory for a body that has not come whole; never more than twice the maximum of a frame. */
  readonly bufferedBytes: number;
}

const EMPTY = new Uint8Array(0);

/** Bytes kept from one chunk to the next: a buffer that doubles as bytes come, so that a length alone costs none. */
export class ReassemblyBuffer {
  static readonly #INITIAL_BYTES = 256; // bytes; most messages fit
  static readonly #MAX_IDLE_BYTES = 4_096; // bytes; a larger buffer is given back when it has been emptied
  #bytes: Uint8Array = EMPTY; // shared by all that hold none
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

  /** Holds nothing any more. */
  release(): void {
    this.#length = 0;
    releaseBuffer(this.#bytes);
    this.#bytes = EMPTY;
  }
}

/** What decoders share: the chunk they are in, and the carry for what it doesn't hold whole. */
export abstract class BufferingDecoder implements Decoder {
  protected readonly maxBodyBytes: number;
  protected readonly buffer = new ReassemblyBuffer();
  protected chunk: Uint8Array = EMPTY;
  protected offset = 0; // in the chunk
  #isClosed = false;

  /** `maxBody` is the most bytes that a body may have. */
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

  /** As {@link Decoder.next}, while no error was fatal. */
  protected abstract decodeNext(): Uint8Array | WireError | undefined;

  /** Gives up: where the next body would begin can't be told. */
  protected tooLarge(text: string): WireError {
    this.close();
    return new WireError(Errno.TOO_LARGE, text, { fatal: true });
  }
}
