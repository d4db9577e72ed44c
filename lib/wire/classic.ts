/**
 * The classic dialect of the C++ clients: bare JSON objects, usually with a NUL byte after each. The decoder
 * finds the end of an object by counting braces, so that objects may also have white space or nothing between
 * them. JSON contains no NUL byte, so a NUL inside an object ends it as incomplete.
 */
import { BufferingDecoder, WireError } from "./decoder.ts";
import { Errno } from "./protocol.ts";

/** The first byte of a classic connection. As a frame's first byte it would mean a length of over 2 GB. */
export const CLASSIC_FIRST_BYTE = 0x7b;

const [NUL, QUOTE, BACKSLASH, OPEN, CLOSE] = [0, 0x22, 0x5c, CLASSIC_FIRST_BYTE, 0x7d];
const WHITE_SPACE = new Set([NUL, 0x20, 0x09, 0x0a, 0x0d]);

/** Splits the bytes of a classic connection into objects of at most `maxBodyBytes` bytes. */
export class ClassicDecoder extends BufferingDecoder {
  #depth = 0; // open braces; 0 between objects
  #isInString = false;
  #isEscaped = false;
  #isSkipping = false; // skips invalid bytes up to the next NUL or brace

  protected override decodeNext(): Uint8Array | WireError | undefined {
    if (this.#depth === 0) {
      this.buffer.clear();
      const error = this.#findObject();
      if (error) return error;
    }
    const start = this.offset;
    const outcome = this.#scan();
    const part = this.chunk.subarray(start, this.offset);
    if (this.buffer.length + part.length > this.maxBodyBytes) {
      return this.tooLarge(`the object is over the maximum of ${this.maxBodyBytes} bytes`);
    }
    if (outcome === "no") {
      this.buffer.append(part);
      return undefined;
    }
    if (outcome === "broken") {
      this.#depth = 0;
      return new WireError(Errno.BAD_REQUEST, "a NUL byte inside an object that was not closed");
    }
    if (this.buffer.length === 0) return part;
    this.buffer.append(part);
    return this.buffer.view();
  }

  /** Advances to the next `{`. Reports invalid bytes between objects once, and skips them. */
  #findObject(): WireError | undefined {
    for (; this.offset < this.chunk.length; this.offset++) {
      const byte = this.chunk[this.offset]!;
      if (byte === OPEN) {
        this.#isSkipping = false;
        return undefined;
      }
      if (byte === NUL) this.#isSkipping = false;
      if (this.#isSkipping || WHITE_SPACE.has(byte)) continue;
      this.#isSkipping = true;
      return new WireError(Errno.BAD_REQUEST, `byte ${byte} where an object should begin with "{"`);
    }
    return undefined;
  }

  /** Scans the object to its end, or to the end of the chunk. */
  #scan(): "whole" | "broken" | "no" {
    while (this.offset < this.chunk.length) {
      const byte = this.chunk[this.offset++]!;
      if (byte === NUL) {
        this.#isInString = this.#isEscaped = false;
        return "broken";
      }
      if (this.#isEscaped) this.#isEscaped = false;
      else if (this.#isInString) {
        if (byte === QUOTE) this.#isInString = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
      } else if (byte === QUOTE) this.#isInString = true;
      else if (byte === OPEN) this.#depth++;
      else if (byte === CLOSE && --this.#depth === 0) return "whole";
    }
    return "no";
  }
}
