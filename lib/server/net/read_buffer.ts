/** The buffer that a connection reads into: small while little comes, and larger when much comes at once. */
import { acquireBuffer, releaseBuffer } from "../../wire/buffers.ts";

const MIN_BUFFER_BYTES = 256; // all that an idle connection holds for reading; most messages fit
const MAX_BUFFER_BYTES = 65_536; // many frames per read
const GROWTH_FACTOR = 4; // of one size to the next

/** Shared by all connections for bytes that are discarded. */
export const DISCARD_BUFFER = new Uint8Array(MAX_BUFFER_BYTES);

/** The buffer of one connection. */
export class ReadBuffer {
  #bytes = acquireBuffer(MIN_BUFFER_BYTES);
  #filled = 0; // bytes of the last read

  /** Returns the bytes to read into. Those of the last read must not be in use any more. */
  next(): Uint8Array {
    const { length } = this.#bytes;
    if (this.#filled === length && length < MAX_BUFFER_BYTES) this.#resize(length * GROWTH_FACTOR);
    else if (this.#filled < length / (2 * GROWTH_FACTOR) && length > MIN_BUFFER_BYTES) {
      this.#resize(length / GROWTH_FACTOR);
    }
    return this.#bytes;
  }

  /** Returns the bytes of a read. */
  filled(bytes: number): Uint8Array {
    this.#filled = bytes;
    return this.#bytes.subarray(0, bytes);
  }

  /** Gives the buffer back; it must not be used afterwards. */
  release(): void {
    releaseBuffer(this.#bytes);
  }

  #resize(length: number): void {
    releaseBuffer(this.#bytes);
    this.#bytes = acquireBuffer(length);
  }
}
