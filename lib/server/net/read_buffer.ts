/** What a connection reads into: little while it says little, and much at once when much comes. */
import { acquireBuffer, releaseBuffer } from "../../wire/buffers.ts";

/** Bytes: all that an idle connection holds for reading; most messages fit. */
export const MIN_BUFFER_BYTES = 256;
const MAX_BUFFER_BYTES = 65_536; // bytes: many frames per read
const GROWTH_FACTOR = 4; // times as large as the next smaller one

/** For bytes that are dropped, of all connections. */
export const DISCARD_BUFFER = new Uint8Array(MAX_BUFFER_BYTES);

/** One connection's buffer. */
export class ReadBuffer {
  #bytes = acquireBuffer(MIN_BUFFER_BYTES);

  /** To read into. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** So many bytes came into it, and are not used any more: the next ones may find another. */
  adapt(read: number): void {
    const { length } = this.#bytes;
    if (read === length && length < MAX_BUFFER_BYTES) this.#resize(length * GROWTH_FACTOR);
    else if (read < length / (2 * GROWTH_FACTOR) && length > MIN_BUFFER_BYTES) {
      this.#resize(length / GROWTH_FACTOR);
    }
  }

  /** Nothing is read into it any more. */
  release(): void {
    releaseBuffer(this.#bytes);
  }

  #resize(length: number): void {
    releaseBuffer(this.#bytes);
    this.#bytes = acquireBuffer(length);
  }
}
