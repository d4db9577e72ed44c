/** From a body's bytes to a message that is known to be a JSON object with a `msgid`. */
import { WireError } from "./decoder.ts";
import { Errno, Limit } from "./protocol.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A message as it came: only `msgid` and `rid` have been looked at. */
export interface Message {
  readonly msgid: number;
  readonly rid?: number | string;
  readonly [field: string]: unknown;
}

/**
 * Reads one body. Unknown fields are let through, of a repeated key the last counts, and a key `__proto__` is
 * a key like any other. What is not a message is answered with an error that says why; it never throws.
 */
export function parseMessage(body: Uint8Array): Message | WireError {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(body));
  } catch (error) {
    const why = error instanceof SyntaxError ? "not JSON" : "not UTF-8";
    return new WireError(Errno.BAD_REQUEST, `a body of ${body.length} bytes that is ${why}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new WireError(Errno.BAD_REQUEST, "the JSON is not an object");
  }
  const { msgid, rid } = value as { msgid?: unknown; rid?: unknown };
  const about: { msgid?: number; rid?: number | string } = {};
  if (Number.isSafeInteger(msgid)) about.msgid = msgid as number;
  if (isRid(rid)) about.rid = rid;
  else if (rid !== undefined) {
    return new WireError(
      Errno.BAD_REQUEST,
      `rid must be a number or a string of at most ${Limit.RID} characters`,
      about,
    );
  }
  if (about.msgid === undefined) {
    return new WireError(
      Errno.BAD_REQUEST,
      `msgid ${msgid === undefined ? "is missing" : "must be an integer"}`,
      about,
    );
  }
  return value as Message;
}

function isRid(rid: unknown): rid is number | string {
  return typeof rid === "number" ? Number.isFinite(rid) : typeof rid === "string" && rid.length <= Limit.RID;
}
