/** Parses a body into a message: a JSON object with a `msgid`. */
import { WireError } from "./decoder.ts";
import { Errno, type Rid } from "./protocol.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A received message, of which only `msgid` and `rid` are validated. */
export interface Message {
  readonly msgid: number;
  readonly rid?: Rid;
  readonly [field: string]: unknown;
}

/** Limits on the JSON of a body. */
export interface JsonLimits {
  /** Maximum depth; `{}` has depth 1. */
  readonly maxJsonDepth: number;
  /**
   * Maximum number of values in a body of more than 1 KiB. Parsing 64 KiB of small values takes milliseconds,
   * many times as long as parsing one text of that length.
   */
  readonly maxJsonValues: number;
}

const UNLIMITED: JsonLimits = { maxJsonDepth: Infinity, maxJsonValues: Infinity };

/**
 * Parses one body. Unknown fields are allowed, the last of equal keys counts, and `__proto__` is a key
 * without special meaning. Returns an error with the reason if the body is not a valid message. It never
 * throws.
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

const SHORT_BYTES = 1_024; // parsing a shorter body costs less than counting its values first

const [QUOTE, BACKSLASH, COMMA, ARRAY, OBJECT] = [0x22, 0x5c, 0x2c, 0x5b, 0x7b];

/** Returns whether a body of JSON has more than `max` values, without parsing the body. */
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

const PEEK_BYTES = 256; // clients write msgid and rid first
const HEADER_FIELD = /[{,]\s*"(msgid|rid)"\s*:\s*(-?(?:0|[1-9]\d{0,14})|"[^"\\\p{Cc}]*")\s*(?=[,}])/uy;

/** Returns msgid and rid from the beginning of a body, without parsing the body. */
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

/** Returns whether a value contains no nested value, as is so for all of the protocol's requests. */
function isFlat(value: object): boolean {
  for (const key in value) {
    const field = (value as Record<string, unknown>)[key];
    if (typeof field === "object" && field !== null) return false;
  }
  return true;
}

/** Returns whether a value has more than `max` levels, counting its own. Works by levels to save stack. */
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
      else for (const key in at) collect((at as Record<string, unknown>)[key]);
    }
    level = next;
  }
  return false;
}

/** JSON with the source text of numbers, which the compiler's types do not know yet. */
interface ExactJSON {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): { rid: Rid };
  rawJSON(source: string): { readonly rawJSON: string };
}

/** Returns a rid in its original notation. 64-bit ids are common, and a double would change them. */
function preserveDigits(text: string, rid: number): Rid {
  const exact = JSON as unknown as ExactJSON;
  try {
    return exact.parse(text, (key, value, { source }) => (
      key === "rid" && typeof value === "number" ? exact.rawJSON(source!) : value
    )).rid;
  } catch {
    return rid; // too deeply nested for a reviver
  }
}
