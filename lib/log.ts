/** The log: one line per event, on standard error. Nothing here ever sees a password, a token or a message's text. */

/** How much an event matters, the least first. */
export const LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@link LEVELS}. */
export type Level = typeof LEVELS[number];
/** What is said of an event. An Error is told with its causes. */
export type LogFields = Record<string, string | number | boolean | undefined | Error>;

/** Writes events of a level or above. */
export class Log {
  readonly #minLevel: number;
  readonly #json: boolean;
  readonly #write: (line: string) => void;
  readonly #context: LogFields;

  /**
   * `auto` is text where standard error is a terminal, and JSON otherwise. `write` is given whole lines, each with its
   * line feed. `always` is said of every event.
   */
  constructor(
    level: Level,
    format: "auto" | "text" | "json",
    write: (line: string) => void = writeToStderr,
    context: LogFields = {},
  ) {
    this.#minLevel = LEVELS.indexOf(level);
    this.#json = format === "auto" ? !Deno.stderr.isTerminal() : format === "json";
    this.#write = write;
    this.#context = context;
  }

  debug(event: string, fields?: LogFields): void {
    this.#log("debug", event, fields);
  }

  info(event: string, fields?: LogFields): void {
    this.#log("info", event, fields);
  }

  warn(event: string, fields?: LogFields): void {
    this.#log("warn", event, fields);
  }

  error(event: string, fields?: LogFields): void {
    this.#log("error", event, fields);
  }

  #log(level: Level, event: string, fields: LogFields = {}): void {
    if (LEVELS.indexOf(level) < this.#minLevel) return;
    const time = new Date().toISOString();
    const entries = Object.entries({ ...fields, ...this.#context }).map(([name, value]) =>
      [name, value instanceof Error ? describeError(value) : value] as const
    );
    if (this.#json) {
      this.#write(
        escapeNonPrintable(JSON.stringify({ time, level, event, ...Object.fromEntries(entries) })) + "\n",
      );
    } else {
      const text = entries.filter(([, value]) => value !== undefined).map(([name, value]) =>
        ` ${name}=${quote(value)}`
      );
      this.#write(`${time.slice(11, 19)} ${level.padEnd(5)} ${escapeNonPrintable(event)}${text.join("")}\n`);
    }
  }
}

const LOG_INTERVAL_MS = 1_000; // ms

/** Milliseconds between two lines about what may go on for hours, many times a second, such as accepts that fail. */
export const MINUTE_MS = 60_000;

/** Says the same thing at most once a second, or in `everyMs` milliseconds: strangers can make it happen as often as they like. */
export class LogThrottle {
  readonly #intervalMs: number;
  #nextAt = 0;
  #count = 0;

  constructor(intervalMs = LOG_INTERVAL_MS) {
    this.#intervalMs = intervalMs;
  }

  /** Calls `log` with how many times there was something to say since the last time, or waits for the next one. */
  log(write: (count: number) => void): void {
    this.#count++;
    const now = performance.now();
    if (now < this.#nextAt) return;
    this.#nextAt = now + this.#intervalMs;
    write(this.#count);
    this.#count = 0;
  }
}

/** An error's message with those of its causes, as far as they are not in it. */
export function describeError(error: unknown): string {
  const parts: string[] = [];
  for (
    let at: unknown = error;
    at !== undefined && at !== null;
    at = at instanceof Error ? at.cause : undefined
  ) {
    const text = at instanceof Error ? at.message : String(at);
    if (!parts.some((part) => part.includes(text))) parts.push(text);
  }
  return parts.join(": ");
}

function quote(value: string | number | boolean | undefined): string {
  const text = String(value);
  return /^[\w.:/@-]+$/.test(text) ? text : escapeNonPrintable(JSON.stringify(text));
}

/** What a terminal obeys, or does not show: control and format characters, separators, private and unassigned ones. */
const NON_PRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** With such characters as JSON escapes them: within quotes the text stays the same JSON. */
function escapeNonPrintable(text: string): string {
  return text.replace(NON_PRINTABLE, (character) => {
    const units = Array.from({ length: character.length }, (_, at) => character.charCodeAt(at));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("");
  });
}

const encoder = new TextEncoder();

function writeToStderr(line: string): void {
  const bytes = encoder.encode(line);
  try {
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  } catch {
    // The log is not read any more (a closed pipe): that must not stop the server.
  }
}
