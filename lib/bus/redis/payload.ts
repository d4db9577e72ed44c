/**
 * What is published: the sender's id, the version, and one of these as JSON. An array rather than an object,
 * and one letter for the kind: most of a short message would be names of fields otherwise. The array's last
 * element is a signature, see signer.ts; releases before there was one skip it.
 */
import type { Hint } from "../bus.ts";

/** How many characters {@link randomId} gives: every payload begins with them. */
const ID_LENGTH = 16;

/**
 * The version of what nodes say: one character. Nodes of two releases that mean different things by the same
 * payload have different ones, and ignore each other's payloads. A new kind of hint needs none: nodes ignore
 * unknown kinds.
 */
const VERSION = "1";

/** An id for a node, which no other node has: 64 random bits. */
export function randomId(): string {
  return [...crypto.getRandomValues(new Uint8Array(ID_LENGTH / 2))]
    .map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * What the nodes say to each other: a hint, or of themselves that there is a new node, that a node still is
 * there, or that it closes. The latter have the node's next number, so that each counts once.
 */
export type Payload = Hint | Announcement;

/** What a node says of itself. */
export interface Announcement {
  readonly kind: AnnouncementKind;
  readonly count: number;
}

/** The kinds of it. */
export type AnnouncementKind = "hello" | "beat" | "bye";

/** Whether it isn't a hint. */
export function isAnnouncement(payload: Payload): payload is Announcement {
  return "count" in payload;
}

/** What a node's payloads begin with. */
export function headerOf(sender: string): string {
  return sender + VERSION;
}

/** Writes what follows the heading, and is still to be signed. */
export function encode(payload: Payload): string {
  return JSON.stringify(toArray(payload));
}

/** Who said the payload. */
export function senderOf(text: string): string {
  return text.slice(0, ID_LENGTH);
}

/** Reads a signed payload; undefined if it isn't one, or one of an unknown version or kind. */
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
    case "look":
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
      return { kind: "look" };
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
