/** Counts what a server sends by its errno, and looks at no more of it than the beginning of each frame. */
import type { Tally } from "./attack_plan.ts";

const HEADER = 4; // bytes of length before each body
const LOOKED_AT = 48; // bytes of a body, in which a reply's errno stands: `{"msgid":20,"of":10,"errno":0`
const ERRNO = /"errno":(\d+)/;

const decoder = new TextDecoder();

/** The frames of one connection. */
export class ReplyCounter {
  /** Of the last reply; undefined before the first. */
  lastErrno: string | undefined;
  readonly #tally: Tally;
  readonly #head = new Uint8Array(HEADER + LOOKED_AT);
  #held = 0; // bytes of #head
  #skip = 0; // bytes of the frame that are not looked at

  constructor(tally: Tally) {
    this.#tally = tally;
  }

  /** Counts the frames of which `chunk` completes the beginning. */
  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const skipped = Math.min(this.#skip, chunk.length - at);
      this.#skip -= skipped;
      at += skipped;
      const taken = chunk.subarray(at, at + this.#wanted() - this.#held);
      this.#head.set(taken, this.#held);
      this.#held += taken.length;
      at += taken.length;
      if (this.#held >= HEADER && this.#held === this.#wanted()) this.#count();
    }
  }

  /** Bytes of #head that are needed before more can be said. */
  #wanted(): number {
    return this.#held < HEADER ? HEADER : HEADER + Math.min(this.#size(), LOOKED_AT);
  }

  #size(): number {
    return new DataView(this.#head.buffer).getUint32(0);
  }

  #count(): void {
    const body = decoder.decode(this.#head.subarray(HEADER, this.#held));
    this.#skip = this.#size() + HEADER - this.#held;
    this.#held = 0;
    const errno = ERRNO.exec(body)?.[1];
    if (errno === undefined) this.#tally.pushed++;
    else {
      this.#tally.replies[errno] = (this.#tally.replies[errno] ?? 0) + 1;
      this.lastErrno = errno;
    }
  }
}
