/** What a connection reads into: little while it says little, and much at once when much comes. */
import { giveBuffer, takeBuffer } from "../../wire/buffers.ts";

/** Bytes: all that an idle connection holds for reading; most messages fit. */
export const MIN_BUFFER_BYTES = 256;
const LARGE = 65_536; // bytes: many frames per read
const STEP = 4; // times as large as the next smaller one

/** For bytes that are dropped, of all connections. */
export const UNHEARD = new Uint8Array(LARGE);

/** One connection's buffer. */
export class ReadBuffer {
  #bytes = takeBuffer(MIN_BUFFER_BYTES);

  /** To read into. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** So many bytes came into it, and are not used any more: the next ones may find another. */
  adapt(read: number): void {
    const { length } = this.#bytes;
    if (read === length && length < LARGE) this.#change(length * STEP);
    else if (read < length / (2 * STEP) && length > MIN_BUFFER_BYTES) this.#change(length / STEP);
  }

  /** Nothing is read into it any more. */
  release(): void {
    giveBuffer(this.#bytes);
  }

  #change(length: number): void {
    giveBuffer(this.#bytes);
    this.#bytes = takeBuffer(length);
  }
}
