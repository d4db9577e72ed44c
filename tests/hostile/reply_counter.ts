/** Counts replies by errno. It reads the beginning of each frame only. */
import type { Tally } from "./attack_plan.ts";

const HEADER_BYTES = 4; // bytes of length before each body
// bytes of a body that contain the errno of a reply: `{"msgid":20,"of":10,"errno":0`
const INSPECTED_BYTES = 48;
const ERRNO = /"errno":(\d+)/;

const decoder = new TextDecoder();

/** Counts the frames of one connection. */
export class ReplyCounter {
  /** The errno of the last reply; undefined before the first. */
  lastErrno: string | undefined;
  readonly #tally: Tally;
  readonly #head = new Uint8Array(HEADER_BYTES + INSPECTED_BYTES);
  #headBytes = 0; // bytes of #head
  #skipBytes = 0; // bytes of the frame that are not read

  constructor(tally: Tally) {
    this.#tally = tally;
  }

  /** Counts the frames whose beginnings `chunk` completes. */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const skipped = Math.min(this.#skipBytes, chunk.length - at);
      this.#skipBytes -= skipped;
      at += skipped;
      const taken = chunk.subarray(at, at + this.#neededHeadBytes() - this.#headBytes);
      this.#head.set(taken, this.#headBytes);
      this.#headBytes += taken.length;
      at += taken.length;
      if (this.#headBytes >= HEADER_BYTES && this.#headBytes === this.#neededHeadBytes()) this.#count();
    }
  }

  /** Returns the bytes that #head needs for the next step. */
  #neededHeadBytes(): number {
    return this.#headBytes < HEADER_BYTES
      ? HEADER_BYTES
      : HEADER_BYTES + Math.min(this.#bodyBytes(), INSPECTED_BYTES);
  }

  #bodyBytes(): number {
    return new DataView(this.#head.buffer).getUint32(0);
  }

  #count(): void {
    const body = decoder.decode(this.#head.subarray(HEADER_BYTES, this.#headBytes));
    this.#skipBytes = this.#bodyBytes() + HEADER_BYTES - this.#headBytes;
    this.#headBytes = 0;
    const errno = ERRNO.exec(body)?.[1];
    if (errno === undefined) this.#tally.pushed++;
    else {
      this.#tally.replies[errno] = (this.#tally.replies[errno] ?? 0) + 1;
      this.lastErrno = errno;
    }
  }
}
