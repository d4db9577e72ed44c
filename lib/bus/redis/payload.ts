/**
 * The format of a payload: the sender's id, the version, and a JSON array. An array and one-letter kinds are
 * much shorter than an object with field names. The last element of the array is a signature; see signer.ts.
 * Releases before signatures skip it.
 */
import type { Hint } from "../bus.ts";

/** The length of a node's id, from `newId`, in characters. Every payload begins with the id of its sender. */
const ID_LENGTH = 16;

/**
 * The version of the format: one character. Releases that read the same payload in different ways have
 * different versions, and ignore each other's payloads. A new kind needs no new version: nodes ignore unknown
 * kinds.
 */
const VERSION = "1";

/** A payload: a hint, or an announcement. */
export type Payload = Hint | Announcement;

/**
 * A node's message about itself to all nodes: it has joined, is alive, or leaves. `count` is one higher each
 * time, so that a repeated announcement is detected.
 */
export interface Announcement {
  readonly kind: AnnouncementKind;
  readonly count: number;
}

/** The kinds of announcements. */
export type AnnouncementKind = "hello" | "beat" | "bye";

/** Returns whether the payload is an announcement, and not a hint. */
export function isAnnouncement(payload: Payload): payload is Announcement {
  return "count" in payload;
}

/** Returns the beginning of all payloads of a node. */
export function headerOf(sender: string): string {
  return sender + VERSION;
}

/** Returns the JSON array of a payload, without the signature. */
export function encode(payload: Payload): string {
  return JSON.stringify(toArray(payload));
}

/** Returns the id of the node that sent the payload. */
export function senderOf(text: string): string {
  return text.slice(0, ID_LENGTH);
}

/** Decodes a payload. Returns undefined if it has another format, version or kind. */
export function decode(text: string): Payload | undefined {
  if (text[ID_LENGTH] !== VERSION) return undefined;
  try {
    return fromArray(JSON.parse(text.slice(ID_LENGTH + VERSION.length)));
  } catch {
    return undefined;
  }
}

function toArray(payload: Payload): readonly (string | number)[] {
  switch (payload.kind) {
    case "message": {
      const { seq, sender, senderName, cid, body, time } = payload.message;
      return ["m", seq, sender, senderName, cid, body, time];
    }
    case "presence":
      return ["p", payload.user];
    case "takeover":
      return ["t", payload.loginEpoch];
    case "joined":
      return ["g", payload.group];
    case "resync":
      return ["l"];
    case "hello":
      return ["h", payload.count];
    case "beat":
      return ["b", payload.count];
    case "bye":
      return ["e", payload.count];
  }
}

function fromArray(value: unknown): Payload | undefined {
  if (!Array.isArray(value)) return undefined;
  const [kind, first, sender, senderName, cid, body, time] = value as unknown[];
  switch (kind) {
    case "m":
      return isNumber(first) && isNumber(sender) && isNumber(time) && typeof senderName === "string" &&
          typeof cid === "string" && typeof body === "string"
        ? { kind: "message", message: { seq: first, sender, senderName, cid, body, time } }
        : undefined;
    case "p":
      return isNumber(first) ? { kind: "presence", user: first } : undefined;
    case "t":
      return isNumber(first) ? { kind: "takeover", loginEpoch: first } : undefined;
    case "g":
      return isNumber(first) ? { kind: "joined", group: first } : undefined;
    case "l":
      return { kind: "resync" };
    case "h":
      return isNumber(first) ? { kind: "hello", count: first } : undefined;
    case "b":
      return isNumber(first) ? { kind: "beat", count: first } : undefined;
    case "e":
      return isNumber(first) ? { kind: "bye", count: first } : undefined;
    default:
      return undefined;
  }
}

function isNumber(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
