/** What the checker has to say of a run. */
import type { Conversation } from "../history.ts";

/** What can be wrong. */
export type Kind =
  /** The user has gone on trying in vain: a message was never answered with errno 0. */
  | "unacked"
  /** Acked and not in the log; or in the log, and a recipient never had it. */
  | "lost"
  /** Twice in the log, or twice before a user's eyes, or twice on one session. */
  | "duplicated"
  /** Behind one that it was known to come before, or the other way round. */
  | "reordered"
  /** A seq that no message has, or a push that skipped a message. */
  | "gap"
  /** It was never sent, or the log does not have it. */
  | "invented"
  /** Its text, its sender or its conversation is another one than that with which it was sent. */
  | "altered"
  /** The ack named another seq, or another conversation, than the one that the message has. */
  | "misacked"
  /** A user was pushed its own message. */
  | "own"
  /** A user was pushed what is not for it: of others' conversation, or from before it joined. */
  | "leaked"
  /** It came long after all was well, though it was there at the login and needed no hint to be found. */
  | "late"
  /** A joining was acked, and the user is no member in the end. */
  | "membership"
  /** A user is shown as online who is not, or the other way round. */
  | "presence"
  /** The server still keeps what the user has said to have, or believes in more than there is. */
  | "cursor";

/** Where it was seen; what does not apply is left out. */
export interface Place {
  readonly user?: number;
  readonly in?: Conversation;
  readonly seq?: number;
  readonly cid?: string;
}

/** One thing that is wrong. */
export interface Finding extends Place {
  readonly kind: Kind;
  /** What was seen, in words. */
  readonly seen: string;
}

/** A finding as one line for people. */
export function lineOf({ kind, user, in: conversation, seq, cid, seen }: Finding): string {
  const place = [
    user === undefined ? "" : `user ${user}`,
    conversation ?? "",
    seq === undefined ? "" : `seq ${seq}`,
    cid === undefined ? "" : `cid ${cid}`,
  ];
  return `${kind}: ${place.filter((part) => part !== "").join(", ")}: ${seen}`;
}

/** Gathers findings, each once, though more than one event may show it. */
export class Findings {
  readonly #found = new Map<string, Finding>();

  /** Notes one, unless it is known. */
  add(kind: Kind, place: Place, seen: string): void {
    const key = [kind, place.user, place.in, place.seq, place.cid, seen].join(" ");
    if (!this.#found.has(key)) this.#found.set(key, { kind, ...place, seen });
  }

  /** All of them, in the order in which they were noted. */
  get list(): Finding[] {
    return [...this.#found.values()];
  }
}
