/** Tells what is typed on a terminal from what is pasted, so that a paste of several lines is not taken for commands. */
import type { Buffer } from "node:buffer";
import process from "node:process";
import { StringDecoder } from "node:string_decoder";
import { PassThrough } from "node:stream";

/** Where keys and pastes go. */
export interface KeyListener {
  /** Whether several lines that come at once are a paste here, also where the terminal does not say so. */
  readonly expectsLines: boolean;
  onPaste(text: string): void;
}

/** Asks a terminal to put {@link PASTE_BEGIN} and {@link PASTE_END} around pastes, and no more ("bracketed paste"). */
const BRACKETED_PASTE_ON = "\x1b[?2004h";
const BRACKETED_PASTE_OFF = "\x1b[?2004l";
const PASTE_BEGIN = "\x1b[200~";
const PASTE_END = "\x1b[201~";

/** Milliseconds in which the rest of a paste comes that was read in several pieces. Between two keys there is more. */
const BURST_MS = 20;

/** What ends a line in a text, also where readline sees no end: the mandatory breaks of Unicode (UAX 14). */
const LINE_END = /\r\n?|[\n\v\f\x85\u2028\u2029]/gu;

/** A line with another one behind it. */
const MULTIPLE_LINES = /[\r\n\v\f\x85\u2028\u2029]\s*[^\s\p{Cc}]/u;

/** Cuts what a terminal sends at the marks around pastes. */
export class PasteReader {
  #pasted: string | undefined; // since PASTE_BEGIN
  #partialMark = ""; // may be the beginning of a mark

  /** The pieces of the next text, in their order. */
  push(text: string): { readonly kind: "keys" | "paste"; readonly text: string }[] {
    const pieces: { kind: "keys" | "paste"; text: string }[] = [];
    let left = this.#partialMark + text;
    this.#partialMark = "";
    for (;;) {
      const isInside = this.#pasted !== undefined;
      const mark = isInside ? PASTE_END : PASTE_BEGIN;
      const at = left.indexOf(mark);
      const min = isInside ? 1 : 2; // outside of a paste ESC alone is a key
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

/** How many characters at the end of a text can be the beginning of a mark: at least so many, or none. */
function partialMarkLength(text: string, mark: string, min: number): number {
  for (let length = mark.length - 1; length >= min; length--) {
    if (text.endsWith(mark.slice(0, length))) return length;
  }
  return 0;
}

/** A paste's text with one kind of line ends, none at its end, and no control characters that would steer the terminal. */
export function cleanPaste(text: string): string {
  return text.replace(LINE_END, "\n").replace(/(?![\n\t])\p{Cc}/gu, "").replace(/\n+$/, "");
}

/** The keys typed on standard input, as readline reads them; pastes go to the listener. */
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

  /** Turns the marks around pastes on or off. */
  setBracketedPaste(enabled: boolean): void {
    if (process.env.TERM !== "dumb") process.stdout.write(enabled ? BRACKETED_PASTE_ON : BRACKETED_PASTE_OFF);
  }

  /** Gives the terminal back. */
  close(): void {
    clearTimeout(this.#timer);
    process.stdin.pause();
    this.setBracketedPaste(false);
  }

  #onKeys(text: string): void {
    const isLine = text.length > 1 && /[\r\n\u2028\u2029]/.test(text); // not one key
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
