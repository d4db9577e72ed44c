/** The framed dialect, written anew from the contract so that it can't share a fault with the server's. */
import { MAX_SERVER_FRAME } from "./protocol_numbers.ts";

const HEADER_BYTES = 4; // bytes of length before each body
const encoder = new TextEncoder();

/** A body, text or bytes of any kind, as a frame; `length` is what the header says, right if it isn't given. */
export function frame(body: string | Uint8Array, length?: number): Uint8Array {
  const bytes = typeof body === "string" ? encoder.encode(body) : body;
  const whole = new Uint8Array(HEADER_BYTES + bytes.length);
  new DataView(whole.buffer).setUint32(0, length ?? bytes.length);
  whole.set(bytes, HEADER_BYTES);
  return whole;
}

/** An object as a frame. */
export function objectFrame(message: unknown): Uint8Array {
  return frame(JSON.stringify(message));
}

/** Several pieces of bytes as one. */
export function joined(...pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Gathers what a server sends and gives out whole bodies. */
export class FrameReader {
  #left = new Uint8Array(0);
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** The bodies that `chunk` completes. Throws at a frame that a server must not send. */
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
