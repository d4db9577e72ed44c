/**
 * The framed dialect, written again from docs/PROTOCOL.md, so that it shares no fault with the server's code.
 */
import { MAX_SERVER_FRAME } from "./protocol_numbers.ts";

const HEADER_BYTES = 4; // bytes of length before each body
const encoder = new TextEncoder();

/** Encodes any body as a frame. `length` is the number in the header; the correct one by default. */
export function frame(body: string | Uint8Array, length?: number): Uint8Array {
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  const whole = new Uint8Array(HEADER_BYTES + bytes.length);
  new DataView(whole.buffer).setUint32(0, length ?? bytes.length);
  whole.set(bytes, HEADER_BYTES);
  return whole;
}

/** Encodes an object as a frame. */
export function objectFrame(message: unknown): Uint8Array {
  return frame(JSON.stringify(message));
}

/** Concatenates bytes. */
export function joined(...pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Splits a server's bytes into bodies. */
export class FrameReader {
  #left = new Uint8Array(0);
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** Returns the bodies that `chunk` completes. Throws for a frame that a server must not send. */
  push(chunk: Uint8Array): string[] {
    const bytes = this.#left.length === 0 ? chunk : joined(this.#left, chunk);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const bodies: string[] = [];
    let at = 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const size = view.getUint32(at);
      if (size > MAX_SERVER_FRAME) throw new Error(`the server sent a frame of ${size} bytes`);
      if (bytes.length - at < HEADER_BYTES + size) break;
      bodies.push(this.#decoder.decode(bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + size)));
      at += HEADER_BYTES + size;
    }
    this.#left = bytes.slice(at);
    return bodies;
  }
}
