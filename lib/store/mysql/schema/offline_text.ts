/** What a C++ server of this family kept for a user who was away: one JSON text, much like what it sends to clients. */

/** A message that was found in a row of OfflineMessage. */
export interface OfflineText {
  readonly sender: number;
  /** The group it was sent to; none if it was for the row's user alone. */
  readonly group: number | undefined;
  readonly body: string;
  /** Its time as it stands there, whatever it is. */
  readonly timeText: string;
  /** The same in milliseconds since 1970, UTC, if it can be. */
  readonly time: number | undefined;
}

/** Why a row can't be taken over. */
export type SkipReason =
  | "not JSON"
  | "no sender"
  | "no group"
  | "no text"
  | "text too long"
  | "sender unknown"
  | "recipient unknown"
  | "group unknown"
  | "recipient not in the group";

/** Bytes of UTF-8 in a text: what a client may send at most, however the server is configured. */
const MAX_BODY_BYTES = 524_288;

/** Milliseconds that a message's time may be ahead of now: two machines' clocks, not two different days. */
const MAX_CLOCK_SKEW_MS = 86_400_000;

/** Names of the sender's id, the usual one first. */
const SENDER_FIELDS = ["id", "from", "fromid", "sender", "senderid"];

/** Reads the text of a row. `now` is in milliseconds since 1970, UTC. */
export function readOfflineText(text: string, now: number): OfflineText | SkipReason {
  const fields = parseObject(text);
  if (!fields) return "not JSON";
  const sender = parseId(SENDER_FIELDS.map((name) => fields[name]).find((value) => value !== undefined));
  if (sender === undefined) return "no sender";
  const given = fields.groupid ?? undefined; // null is none
  const group = parseId(given);
  if (given !== undefined && group === undefined) return "no group";
  if (typeof fields.msg !== "string") return "no text";
  const body = fields.msg.toWellFormed(); // UTF-8 has no halves of surrogate pairs
  if (encoder.encode(body).length > MAX_BODY_BYTES) return "text too long";
  const written = typeof fields.time === "string" ? fields.time : JSON.stringify(fields.time ?? null);
  return { sender, group, body, timeText: written, time: parseTime(written, now) };
}

const encoder = new TextEncoder();

function parseObject(text: string): Record<string, unknown> | undefined {
  const value = tryParse(text) ?? tryParse(repairEscapes(text));
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as Record<string, unknown>
    : undefined;
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * Undoes what putting JSON into a statement without escaping it does: the database takes `\n` for a line feed, and
 * one of two backslashes away. Those servers wrote each object on one line, so that every control character was in a
 * string.
 */
function repairEscapes(text: string): string {
  return text
    .replace(/\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})|\\\\/g, "\\\\")
    // deno-lint-ignore no-control-regex -- control characters are what it is about
    .replace(/[\0-\x1f]/g, (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function parseId(value: unknown): number | undefined {
  const id = typeof value === "string" && /^\s*\d+\s*$/.test(value) ? Number(value) : value;
  return typeof id === "number" && Number.isInteger(id) && id > 0 && id < 2 ** 31 ? id : undefined;
}

const TIME_PATTERN = /^\s*(\d{4})-(\d{1,2})-(\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2}))?\s*$/;

/** Reads a time in this process's time zone; none of before 1970, of the future, or of a day that isn't. */
function parseTime(written: string, now: number): number | undefined {
  const numbers = TIME_PATTERN.exec(written)?.slice(1).map((digits) => Number(digits ?? 0));
  if (!numbers) return undefined;
  const [year, month, day, hour, minute, second] = numbers as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const date = new Date(year, month - 1, day, hour, minute, second);
  const exists = date.getMonth() === month - 1 && date.getDate() === day && hour < 24 && minute < 60 &&
    second < 60;
  const time = date.getTime();
  return exists && time >= 0 && time <= now + MAX_CLOCK_SKEW_MS ? time : undefined;
}
