/** The log: one line per event, on standard error. No password, token or message text may be logged. */

/** The levels of events, the lowest first. */
export const LEVELS = ["debug", "info", "warn", "error"] as const;
/** One of {@link LEVELS}. */
export type Level = typeof LEVELS[number];
/** The fields of an event. An Error is logged with its causes. */
export type LogFields = Record<string, string | number | boolean | undefined | Error>;

/** A log of events of a level or above. */
export class Log {
  readonly #minLevel: number;
  readonly #json: boolean;
  readonly #write: (line: string) => void;
  readonly #context: LogFields;

  /**
   * With `auto` the format is text if standard error is a terminal, and JSON otherwise. `write` gets whole
   * lines with their line feed. `context` has fields of all events.
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

/** Milliseconds between two lines about the same thing. */
const LOG_INTERVAL_MS = 1_000;

/** Milliseconds between two lines about failures that can go on for hours, such as failing accepts. */
export const MINUTE_MS = 60_000;

/** Limits the rate of a log line that untrusted clients can cause at any rate. */
export class LogThrottle {
  readonly #intervalMs: number;
  #nextAt = 0;
  #count = 0;

  constructor(intervalMs = LOG_INTERVAL_MS) {
    this.#intervalMs = intervalMs;
  }

  /** Calls `write` with the number of calls since the last line, unless the interval has not passed yet. */
  log(write: (count: number) => void): void {
    this.#count++;
    const now = performance.now();
    if (now < this.#nextAt) return;
    this.#nextAt = now + this.#intervalMs;
    write(this.#count);
    this.#count = 0;
  }
}

/** Returns the message of an error and those of its causes, without repetitions. */
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

/**
 * Characters that a terminal obeys or does not show: control, format, private and unassigned ones, and
 * separators.
 */
const NON_PRINTABLE = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/** Escapes such characters as in JSON. Within quotes, the text is the same JSON afterwards. */
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
    // Standard error is a closed pipe: the server must go on.
  }
}
