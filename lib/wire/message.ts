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

/**
 * Reads one body. Unknown fields are let through, of a repeated key the last counts, and a key `__proto__` is
 * a key like any other. What is not a message is answered with an error that says why; it never throws.
 */
export function parseMessage(body: Uint8Array): Message | WireError {
  let text: string;
  let value: unknown;
  try {
    text = decoder.decode(body);
    value = JSON.parse(text);
  } catch (error) {
    const why = error instanceof SyntaxError ? "not JSON" : "not UTF-8";
    return new WireError(Errno.BAD_REQUEST, `a body of ${body.length} bytes that is ${why}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new WireError(Errno.BAD_REQUEST, "the JSON is not an object");
  }
  const message = value as Record<string, unknown>;
  const { msgid, rid } = message;
  const about: { msgid?: number; rid?: Rid } = {};
  if (Number.isSafeInteger(msgid)) about.msgid = msgid as number;
  if (typeof rid === "string" || Number.isSafeInteger(rid)) about.rid = rid as number | string;
  else if (Number.isFinite(rid)) about.rid = message.rid = asWritten(text, rid as number);
  else if (rid !== undefined) {
    return new WireError(Errno.BAD_REQUEST, "rid must be a number or a string", about);
  }
  if (about.msgid === undefined) {
    const words = `msgid ${msgid === undefined ? "is missing" : "must be an integer"}`;
    return new WireError(Errno.BAD_REQUEST, words, about);
  }
  return message as unknown as Message;
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
function asWritten(text: string, rid: number): Rid {
  const exact = JSON as unknown as ExactJSON;
  try {
    return exact.parse(text, (key, value, { source }) => (
      key === "rid" && typeof value === "number" ? exact.rawJSON(source!) : value
    )).rid;
  } catch {
    return rid; // nested too deeply to be looked at like this
  }
}
