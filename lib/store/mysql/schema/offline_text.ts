/**
 * Parses messages that C++ servers of this family store for offline users: JSON, much like a message to a
 * client.
 */

/** A message in a row of OfflineMessage. */
export interface OfflineText {
  readonly sender: number;
  /** The group of the message; undefined for a message to the row's user. */
  readonly group: number | undefined;
  readonly body: string;
  /** The time as text, in any format. */
  readonly timeText: string;
  /** The time in milliseconds since 1970, UTC, if it can be parsed. */
  readonly time: number | undefined;
}

/** The reason for skipping a row. */
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

/** Bytes of UTF-8 in a text: the most that a client may send in any configuration. */
const MAX_BODY_BYTES = 524_288;

/** Milliseconds that a message's time may be in the future: the clocks of two machines may differ by that. */
const MAX_CLOCK_SKEW_MS = 86_400_000;

/** Fields of the sender's id, the most common one first. */
const SENDER_FIELDS = ["id", "from", "fromid", "sender", "senderid"];

/** Parses the text of a row. `now` is in milliseconds since 1970, UTC. */
export function readOfflineText(text: string, now: number): OfflineText | SkipReason {
  const fields = parseObject(text);
  if (!fields) return "not JSON";
  const sender = parseId(SENDER_FIELDS.map((name) => fields[name]).find((value) => value !== undefined));
  if (sender === undefined) return "no sender";
  const given = fields.groupid ?? undefined; // null means no group
  const group = parseId(given);
  if (given !== undefined && group === undefined) return "no group";
  if (typeof fields.msg !== "string") return "no text";
  const body = fields.msg.toWellFormed(); // UTF-8 cannot encode lone surrogates
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
 * Repairs JSON that was put into a statement without escaping: the database read `\n` as a line feed, and two
 * backslashes as one. Those servers wrote each object on one line, so that every control character is inside
 * a string.
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

/**
 * Parses a time in the time zone of this process. Returns undefined for a time before 1970, in the future, or
 * on a day that does not exist.
 */
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
