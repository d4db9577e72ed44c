/** The framed dialect: a 4-byte unsigned big-endian length N, then N bytes of UTF-8 holding one JSON object. */
import { Buffer } from "node:buffer";
import { CarryingDecoder, type WireError } from "./decoder.ts";

const HEADER = 4; // bytes of the length in front of each body
const encoder = new TextEncoder();

/** A JSON text as a frame. */
export function encodeFrame(json: string): Uint8Array {
  if (json.length <= SHORT) {
    const { written } = encoder.encodeInto(json, body);
    return headed(scratch.slice(0, HEADER + written));
  }
  const frame = new Uint8Array(HEADER + Buffer.byteLength(json));
  encoder.encodeInto(json, frame.subarray(HEADER));
  return headed(frame);
}

const SHORT = 1_024; // UTF-16 code units: to copy such a text out costs less than to measure it first
const scratch = new Uint8Array(HEADER + SHORT * 3); // a code unit takes at most 3 bytes of UTF-8
const body = scratch.subarray(HEADER);

/** Puts the length of what is behind it in front. */
function headed(frame: Uint8Array): Uint8Array {
  const size = frame.length - HEADER;
  frame[0] = size >>> 24;
  frame[1] = size >>> 16;
  frame[2] = size >>> 8;
  frame[3] = size;
  return frame;
}

/** Cuts the bytes of a framed connection into bodies of at most `maxBody` bytes. */
export class FramedDecoder extends CarryingDecoder {
  #givenOut = false; // the carry's body was handed out and can be cleared at the next call

  protected override cut(): Uint8Array | WireError | undefined {
    if (this.#givenOut) {
      this.carry.clear();
      this.#givenOut = false;
    }
    return this.carry.length === 0 ? this.#fromChunk() : this.#throughCarry();
  }

  /** The usual case: the frame lies whole in the chunk, and nothing is copied. */
  #fromChunk(): Uint8Array | WireError | undefined {
    const left = this.chunk.length - this.at;
    if (left >= HEADER) {
      const size = lengthAt(this.chunk, this.at);
      if (size > this.maxBody) return this.#overMaximum(size);
      if (left >= HEADER + size) {
        const start = this.at + HEADER;
        this.at = start + size;
        return this.chunk.subarray(start, this.at);
      }
    }
    if (left > 0) this.#take(left);
    return undefined;
  }

  /** A frame that began in an earlier chunk: its bytes are gathered. */
  #throughCarry(): Uint8Array | WireError | undefined {
    if (this.carry.length < HEADER) this.#take(HEADER - this.carry.length);
    if (this.carry.length < HEADER) return undefined;
    const size = lengthAt(this.carry.view(), 0);
    if (size > this.maxBody) return this.#overMaximum(size);
    this.#take(HEADER + size - this.carry.length);
    if (this.carry.length < HEADER + size) return undefined;
    this.#givenOut = true;
    return this.carry.view(HEADER);
  }

  #take(wanted: number): void {
    const end = Math.min(this.at + wanted, this.chunk.length);
    this.carry.append(this.chunk.subarray(this.at, end));
    this.at = end;
  }

  #overMaximum(size: number): WireError {
    return this.tooLarge(`the frame's length is ${size} bytes, over the maximum of ${this.maxBody}`);
  }
}

function lengthAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
