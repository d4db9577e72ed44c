/**
 * Separates pastes from typed keys on a terminal, so that a paste of several lines does not run as commands.
 */
import type { Buffer } from "node:buffer";
import process from "node:process";
import { StringDecoder } from "node:string_decoder";
import { PassThrough } from "node:stream";

/** The receiver of pastes. */
export interface KeyListener {
  /** Whether several lines that arrive at once are a paste, even without the terminal's marks. */
  readonly expectsLines: boolean;
  onPaste(text: string): void;
}

/**
 * Switches the marks {@link PASTE_BEGIN} and {@link PASTE_END} around pastes on and off ("bracketed paste").
 */
const BRACKETED_PASTE_ON = "\x1b[?2004h";
const BRACKETED_PASTE_OFF = "\x1b[?2004l";
const PASTE_BEGIN = "\x1b[200~";
const PASTE_END = "\x1b[201~";

/** The longest pause between the pieces of one paste. Typed keys have longer pauses. */
const BURST_MS = 20;

/** A line end: the mandatory breaks of Unicode (UAX 14), of which readline knows only some. */
const LINE_END = /\r\n?|[\n\v\f\x85\u2028\u2029]/gu;

/** A line end with a further line after it. */
const MULTIPLE_LINES = /[\r\n\v\f\x85\u2028\u2029]\s*[^\s\p{Cc}]/u;

/** Splits the input from a terminal at the marks around pastes. */
export class PasteReader {
  #pasted: string | undefined; // the paste since PASTE_BEGIN
  #partialMark = ""; // the possible beginning of a mark

  /** Returns the pieces of the next input, in their order. */
  push(text: string): { readonly kind: "keys" | "paste"; readonly text: string }[] {
    const pieces: { kind: "keys" | "paste"; text: string }[] = [];
    let left = this.#partialMark + text;
    this.#partialMark = "";
    for (;;) {
      const isInside = this.#pasted !== undefined;
      const mark = isInside ? PASTE_END : PASTE_BEGIN;
      const at = left.indexOf(mark);
      const min = isInside ? 1 : 2; // outside of a paste, ESC alone is a key
      const end = at < 0 ? left.length - partialMarkLength(left, mark, min) : at;
      const before = left.slice(0, end);
      if (isInside) this.#pasted += before;
      else if (before !== "") pieces.push({ kind: "keys", text: before });
      if (at < 0) {
        this.#partialMark = left.slice(end);
        return pieces;
      }
      left = left.slice(at + mark.length);
      if (isInside) pieces.push({ kind: "paste", text: this.#pasted! });
      this.#pasted = isInside ? undefined : "";
    }
  }
}

/** Returns the length of the text's end that may begin a mark: at least `min`, or 0. */
function partialMarkLength(text: string, mark: string, min: number): number {
  for (let length = mark.length - 1; length >= min; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}

/** Returns a paste with LF as line ends, without one at its end, and without control characters. */
export function cleanPaste(text: string): string {
  return text.replace(LINE_END, "\n").replace(/(?![\n\t])\p{Cc}/gu, "").replace(/\n+$/, "");
}

/** The typed keys of standard input, as a stream for readline. Pastes go to the listener. */
export class Keys {
  readonly input = Object.assign(new PassThrough(), {
    setRawMode: (isRaw: boolean) => process.stdin.setRawMode(isRaw),
  });
  readonly #listener: KeyListener;
  readonly #reader = new PasteReader();
  readonly #decoder = new StringDecoder("utf8");
  #burst = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(listener: KeyListener) {
    this.#listener = listener;
    process.stdin.on("data", (chunk: Buffer) => {
      for (const { kind, text } of this.#reader.push(this.#decoder.write(chunk))) {
        if (kind === "keys") this.#onKeys(text);
        else {
          this.#flush();
          listener.onPaste(cleanPaste(text));
        }
      }
    });
    process.stdin.on("end", () => this.input.end());
    this.setBracketedPaste(true);
  }

  /** Switches the marks around pastes on or off. */
  setBracketedPaste(enabled: boolean): void {
    if (process.env.TERM !== "dumb") process.stdout.write(enabled ? BRACKETED_PASTE_ON : BRACKETED_PASTE_OFF);
  }

  /** Releases the terminal. */
  close(): void {
    clearTimeout(this.#timer);
    process.stdin.pause();
    this.setBracketedPaste(false);
  }

  #onKeys(text: string): void {
    const isLine = text.length > 1 && /[\r\n\u2028\u2029]/.test(text); // more than one key
    if (!this.#listener.expectsLines || (!isLine && this.#burst === "")) {
      this.#flush();
      this.input.write(text);
      return;
    }
    this.#burst += text;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#flush(), BURST_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    const burst = this.#burst;
    this.#burst = "";
    if (burst === "") return;
    if (this.#listener.expectsLines && MULTIPLE_LINES.test(burst)) this.#listener.onPaste(cleanPaste(burst));
    else this.input.write(burst);
  }
}
