/** The findings of the checker. */
import type { Conversation } from "../history.ts";

/** The kinds of findings. */
export type Kind =
  /** A message was never acknowledged, although its sender repeated it. */
  | "unacked"
  /** A message was acknowledged and is not in the log, or is in the log and did not reach a recipient. */
  | "lost"
  /** A message is twice in the log, was shown twice, or was pushed twice on one session. */
  | "duplicated"
  /** Two messages are in the wrong order. */
  | "reordered"
  /** A seq has no message, or a push skipped a message. */
  | "gap"
  /** A message was never sent, or is not in the log. */
  | "invented"
  /** The text, sender or conversation of a message has changed. */
  | "altered"
  /** An ack named another seq or conversation than that of the message. */
  | "misacked"
  /** A user was pushed its own message. */
  | "own"
  /** A user was pushed a message of a conversation of others, or from before its membership. */
  | "leaked"
  /**
   * A message from before a login was pushed long after the end of all faults, although it needed no hint.
   */
  | "late"
  /** A request to join was acknowledged, and the user is no member in the end. */
  | "membership"
  /** A user is shown with the wrong state. */
  | "presence"
  /** A cursor is not at the last delivered message. */
  | "cursor";

/** The place of a finding; fields that do not apply are absent. */
export interface Place {
  readonly user?: number;
  readonly in?: Conversation;
  readonly seq?: number;
  readonly cid?: string;
}

/** A finding. */
export interface Finding extends Place {
  readonly kind: Kind;
  /** A description of the observation. */
  readonly seen: string;
}

/** Formats a finding as one line. */
export function lineOf({ kind, user, in: conversation, seq, cid, seen }: Finding): string {
  const place = [
    user === undefined ? "" : `user ${user}`,
    conversation ?? "",
    seq === undefined ? "" : `seq ${seq}`,
    cid === undefined ? "" : `cid ${cid}`,
  ];
  return `${kind}: ${place.filter((part) => part !== "").join(", ")}: ${seen}`;
}

/** Collects findings, each once even if several events show it. */
export class Findings {
  readonly #found = new Map<string, Finding>();

  /** Adds a finding unless it is known. */
  add(kind: Kind, place: Place, seen: string): void {
    const key = [kind, place.user, place.in, place.seq, place.cid, seen].join(" ");
    if (!this.#found.has(key)) this.#found.set(key, { kind, ...place, seen });
  }

  /** All findings in the order of their additions. */
  get list(): Finding[] {
    return [...this.#found.values()];
  }
}
