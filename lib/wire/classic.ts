/**
 * The classic dialect, which C++ clients speak: bare JSON objects, usually with a NUL byte after each. They are
 * told apart by counting braces, so that objects with white space or nothing between them, cut anywhere by the
 * network, are taken too. A NUL can't occur inside JSON: there, it ends an object that was never closed.
 */
import { CarryingDecoder, WireError } from "./decoder.ts";
import { Errno } from "./protocol.ts";

/** The first byte of a classic connection; as a frame's first byte it would mean a length of over 2 GB. */
export const CLASSIC_FIRST_BYTE = 0x7b;

const [NUL, QUOTE, BACKSLASH, OPEN, CLOSE] = [0, 0x22, 0x5c, CLASSIC_FIRST_BYTE, 0x7d];
const WHITE_SPACE = new Set([NUL, 0x20, 0x09, 0x0a, 0x0d]);

/** Cuts the bytes of a classic connection into objects of at most `maxBody` bytes. */
export class ClassicDecoder extends CarryingDecoder {
  #depth = 0; // open braces; 0 is between objects
  #inString = false;
  #escaped = false;
  #skipping = false; // over bytes that begin no object, up to the next NUL or brace

  protected override cut(): Uint8Array | WireError | undefined {
    if (this.#depth === 0) {
      this.carry.clear();
      const strays = this.#findObject();
      if (strays) return strays;
    }
    const start = this.at;
    const ended = this.#scan();
    const part = this.chunk.subarray(start, this.at);
    if (this.carry.length + part.length > this.maxBody) {
      return this.tooLarge(`the object is over the maximum of ${this.maxBody} bytes`);
    }
    if (ended === "no") {
      this.carry.append(part);
      return undefined;
    }
    if (ended === "broken") {
      this.#depth = 0;
      return new WireError(Errno.BAD_REQUEST, "a NUL byte inside an object that was not closed");
    }
    if (this.carry.length === 0) return part;
    this.carry.append(part);
    return this.carry.view();
  }

  /** Goes to the next `{`. Bytes there that can't stand between objects are reported once and left out. */
  #findObject(): WireError | undefined {
    for (; this.at < this.chunk.length; this.at++) {
      const byte = this.chunk[this.at]!;
      if (byte === OPEN) {
        this.#skipping = false;
        return undefined;
      }
      if (byte === NUL) this.#skipping = false;
      if (this.#skipping || WHITE_SPACE.has(byte)) continue;
      this.#skipping = true;
      return new WireError(Errno.BAD_REQUEST, `byte ${byte} where an object should begin with "{"`);
    }
    return undefined;
  }

  /** Goes on through the object, to its end if the chunk holds it. */
  #scan(): "whole" | "broken" | "no" {
    while (this.at < this.chunk.length) {
      const byte = this.chunk[this.at++]!;
      if (byte === NUL) {
        this.#inString = this.#escaped = false;
        return "broken";
      }
      if (this.#escaped) this.#escaped = false;
      else if (this.#inString) {
        if (byte === QUOTE) this.#inString = false;
        else if (byte === BACKSLASH) this.#escaped = true;
      } else if (byte === QUOTE) this.#inString = true;
      else if (byte === OPEN) this.#depth++;
      else if (byte === CLOSE && --this.#depth === 0) return "whole";
    }
    return "no";
  }
}
