/** From a body's bytes to a message that is known to be a JSON object with a `msgid`. */
import { WireError } from "./decoder.ts";
import { Errno, type Rid } from "./protocol.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A message as it came: only `msgid` and `rid` have been looked at. */
export interface Message {
  readonly msgid: number;
  readonly rid?: Rid;
  readonly [field: string]: unknown;
}

/** What a body's JSON may be like. */
export interface JsonLimits {
  /** How deep it may be nested; `{}` is 1 deep. */
  readonly maxJsonDepth: number;
  /**
   * Values that may be in it, if it is longer than 1 KiB: to parse 64 KiB of small ones takes milliseconds, many times
   * as long as one text of that length.
   */
  readonly maxJsonValues: number;
}

const UNLIMITED: JsonLimits = { maxJsonDepth: Infinity, maxJsonValues: Infinity };

/**
 * Reads one body. Unknown fields are let through, of a repeated key the last counts, and a key `__proto__` is
 * a key like any other. What is not a message, or isn't of the right shape, is answered with an error that says why; it
 * never throws.
 */
export function parseMessage(
  body: Uint8Array,
  { maxJsonDepth, maxJsonValues }: JsonLimits = UNLIMITED,
): Message | WireError {
  if (body.length > SHORT_BYTES && exceedsValues(body, maxJsonValues)) {
    return new WireError(Errno.BAD_REQUEST, `a body of more than ${maxJsonValues} values`, peekHeader(body));
  }
  let text: string;
  let value: unknown;
  try {
    text = decoder.decode(body);
    value = JSON.parse(text);
  } catch (error) {
    const problem = error instanceof SyntaxError ? "not JSON" : "not UTF-8";
    return new WireError(Errno.BAD_REQUEST, `a body of ${body.length} bytes that is ${problem}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new WireError(Errno.BAD_REQUEST, "the JSON is not an object");
  }
  const message = value as Record<string, unknown>;
  const { msgid, rid } = message;
  const about: { msgid?: number; rid?: Rid } = {};
  if (Number.isSafeInteger(msgid)) about.msgid = msgid as number;
  if (typeof rid === "string" || Number.isSafeInteger(rid)) about.rid = rid as number | string;
  else if (Number.isFinite(rid)) about.rid = message.rid = preserveDigits(text, rid as number);
  else if (rid !== undefined) {
    return new WireError(Errno.BAD_REQUEST, "rid must be a number or a string", about);
  }
  if (!isFlat(message) && exceedsDepth(message, maxJsonDepth)) {
    return new WireError(Errno.BAD_REQUEST, `the JSON is nested more than ${maxJsonDepth} deep`, about);
  }
  if (about.msgid === undefined) {
    const problem = `msgid ${msgid === undefined ? "is missing" : "must be an integer"}`;
    return new WireError(Errno.BAD_REQUEST, problem, about);
  }
  return message as unknown as Message;
}

const SHORT_BYTES = 1_024; // bytes: whatever is in them, to parse them takes less than to look at them first would save

const [QUOTE, BACKSLASH, COMMA, ARRAY, OBJECT] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b];

/** Whether a body, if it is JSON, holds more values: found out without parsing it. */
function exceedsValues(body: Uint8Array, max: number): boolean {
  let values = 0;
  let isInString = false;
  for (let at = 0; at < body.length; at++) {
    const byte = body[at];
    if (byte === QUOTE) isInString = !isInString;
    else if (isInString) {
      if (byte === BACKSLASH) at++;
    } else if (byte === COMMA || byte === ARRAY || byte === OBJECT) {
      if (++values > max) return true;
    }
  }
  return false;
}

const PEEK_BYTES = 256; // bytes
const HEADER_FIELD = /[{,]\s*"(msgid|rid)"\s*:\s*(-?(?:0|[1-9]\d{0,14})|"[^"\\\p{Cc}]*")\s*(?=[,}])/uy;

/** What a body that isn't parsed says of itself at its beginning, where clients have msgid and rid. */
function peekHeader(body: Uint8Array): { msgid?: number; rid?: Rid } {
  const text = new TextDecoder().decode(body.subarray(0, PEEK_BYTES)).trimStart();
  const about: { msgid?: number; rid?: Rid } = {};
  HEADER_FIELD.lastIndex = 0;
  for (let match; (match = HEADER_FIELD.exec(text));) {
    const value: unknown = JSON.parse(match[2]!);
    if (match[1] === "rid") about.rid = value as Rid;
    else if (typeof value === "number") about.msgid = value;
  }
  return about;
}

/** Whether nothing is nested in it: so are all messages that the protocol defines. */
function isFlat(value: object): boolean {
  for (const key in value) {
    const field = (value as Record<string, unknown>)[key];
    if (typeof field === "object" && field !== null) return false;
  }
  return true;
}

/** Whether there are more than `most` levels, of which the value itself is the first. Level by level: no stack is used up. */
function exceedsDepth(value: object, max: number): boolean {
  let level = [value];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > max) return true;
    const next: object[] = [];
    const collect = (value: unknown) => {
      if (typeof value === "object" && value !== null) next.push(value);
    };
    for (const at of level) {
      if (Array.isArray(at)) at.forEach(collect);
      else for (const key in at) collect((at as Record<string, unknown>)[key]); // makes no list of the values
    }
    level = next;
  }
  return false;
}

/** JSON with the source text of its numbers: newer than the compiler's description of the language. */
interface ExactJSON {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): { rid: Rid };
  rawJSON(source: string): { readonly rawJSON: string };
}

/** A rid as its client wrote it: 64-bit ids are common, and a double would change them. */
function preserveDigits(text: string, rid: number): Rid {
  const exact = JSON as unknown as ExactJSON;
  try {
    return exact.parse(text, (key, value, { source }) => (
      key === "rid" && typeof value === "number" ? exact.rawJSON(source!) : value
    )).rid;
  } catch {
    return rid; // nested too deeply to be looked at like this
  }
}
