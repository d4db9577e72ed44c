/** The framed dialect: a 4-byte unsigned big-endian length N, then one JSON object in N bytes of UTF-8. */
import { Buffer } from "node:buffer";
import { BufferingDecoder, type WireError } from "./decoder.ts";

const HEADER_BYTES = 4; // the length before each body
const encoder = new TextEncoder();

/**
 * The longest text, in UTF-16 code units, that is encoded into a slab. A code unit takes at most 3 bytes of
 * UTF-8, so that a text of this length fits into an empty slab.
 */
const SHORT_LENGTH = 1_024;

/** Size of a slab: about 20 frames. A buffer for each frame costs five times as much as a slice (measured). */
const SLAB_BYTES = 4_096;

let slab = new Uint8Array(SLAB_BYTES);
let slabUsed = 0; // bytes at the beginning that frames have

/** Returns a JSON text as a frame. A short one is a slice of a slab, which lives as long as one of its slices. */
export function encodeFrame(json: string): Uint8Array {
  if (json.length <= SHORT_LENGTH) return encodeShort(json);
  const frame = new Uint8Array(HEADER_BYTES + Buffer.byteLength(json));
  encoder.encodeInto(json, frame.subarray(HEADER_BYTES));
  return withHeader(frame);
}

function encodeShort(json: string): Uint8Array {
  if (slabUsed + HEADER_BYTES + json.length * 3 > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  const start = slabUsed;
  const { written } = encoder.encodeInto(json, slab.subarray(start + HEADER_BYTES));
  slabUsed = start + HEADER_BYTES + written;
  return withHeader(slab.subarray(start, slabUsed));
}

/** Writes the length of the body into the header. */
function withHeader(frame: Uint8Array): Uint8Array {
  const size = frame.length - HEADER_BYTES;
  frame[0] = size >>> 24;
  frame[1] = size >>> 16;
  frame[2] = size >>> 8;
  frame[3] = size;
  return frame;
}

/** Splits the bytes of a framed connection into bodies of at most `maxBodyBytes` bytes. */
export class FramedDecoder extends BufferingDecoder {
  #isBodyReturned = false; // the next call must clear the buffer

  protected override decodeNext(): Uint8Array | WireError | undefined {
    if (this.#isBodyReturned) {
      this.buffer.clear();
      this.#isBodyReturned = false;
    }
    return this.buffer.length === 0 ? this.#fromChunk() : this.#fromBuffer();
  }

  /** Returns a frame that is whole in the chunk, which is the usual case, without a copy. */
  #fromChunk(): Uint8Array | WireError | undefined {
    const left = this.chunk.length - this.offset;
    if (left >= HEADER_BYTES) {
      const size = lengthAt(this.chunk, this.offset);
      if (size > this.maxBodyBytes) return this.#tooLong(size);
      if (left >= HEADER_BYTES + size) {
        const start = this.offset + HEADER_BYTES;
        this.offset = start + size;
        return this.chunk.subarray(start, this.offset);
      }
    }
    if (left > 0) this.#append(left);
    return undefined;
  }

  /** Returns a frame that began in an earlier chunk, from the buffer. */
  #fromBuffer(): Uint8Array | WireError | undefined {
    if (this.buffer.length < HEADER_BYTES) this.#append(HEADER_BYTES - this.buffer.length);
    if (this.buffer.length < HEADER_BYTES) return undefined;
    const size = lengthAt(this.buffer.view(), 0);
    if (size > this.maxBodyBytes) return this.#tooLong(size);
    this.#append(HEADER_BYTES + size - this.buffer.length);
    if (this.buffer.length < HEADER_BYTES + size) return undefined;
    this.#isBodyReturned = true;
    return this.buffer.view(HEADER_BYTES);
  }

  #append(count: number): void {
    const end = Math.min(this.offset + count, this.chunk.length);
    this.buffer.append(this.chunk.subarray(this.offset, end));
    this.offset = end;
  }

  #tooLong(size: number): WireError {
    return this.tooLarge(`the frame's length is ${size} bytes, over the maximum of ${this.maxBodyBytes}`);
  }
}

function lengthAt(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) |
    bytes[offset + 3]!) >>> 0;
}
