/** Checks of the messages that each user has seen, and of their order. */
import type { Conversation, Event } from "../history.ts";
import type { Findings, Place } from "./finding.ts";
import { differing } from "./log.ts";
import type { Evidence, Of, Seen } from "./evidence.ts";

/** ms in which a login must bring its backlog without faults on a busy machine. */
const DELIVERY_TIMEOUT_MS = 15_000;

/** Checks the messages that a user was pushed and shown, and that none is missing. */
export function checkUser(evidence: Evidence, user: number, events: readonly Event[], found: Findings): void {
  const shown = new Map<Conversation, Map<number, number>>(); // by seq: when
  for (const event of events) {
    if (event.kind !== "shown") continue;
    const seqs = shown.get(event.in) ?? new Map<number, number>();
    shown.set(event.in, seqs.set(event.seq, event.at));
  }
  const entered = events.findLast((event) => event.kind === "entered")?.at ?? Infinity;
  const dues = new Map<Conversation, number>();
  const mine = new Set(
    [...evidence.conversations.keys()].filter((in_) => evidence.partiesOf(in_).includes(user)),
  );
  for (const conversation of mine) {
    const seqs = shown.get(conversation) ?? new Map<number, number>();
    const due = dueFrom(evidence, user, conversation, events, seqs);
    dues.set(conversation, due);
    for (const [seq, row] of evidence.in(conversation)) {
      if (seq < due || row.sender === user) continue;
      const place = { user, in: conversation, seq, cid: row.cid };
      const at = seqs.get(seq);
      if (at === undefined) {
        found.add("lost", place, `of user ${row.sender}, in the log, and was never shown`);
      } else if (
        evidence.knownAt(row) < entered &&
        at > Math.max(entered, evidence.history.healed) + DELIVERY_TIMEOUT_MS
      ) {
        // A login loads its backlog after the subscription, which needs no hint (invariant I3).
        found.add("late", place, `there before the login at ${entered} ms, and shown at ${at} ms`);
      }
    }
  }
  checkOrder(evidence, user, events, dues, found);
  checkContents(evidence, user, events, found);
  for (const event of events) {
    if (event.kind !== "joined" || evidence.partiesOf(event.group).includes(user)) continue;
    found.add("membership", { user, in: event.group }, "joined, and is no member in the end");
  }
}

/**
 * Returns the first seq that a user must have received. For a pair it is 1. For a group, joining sets the
 * cursor to the last seq, and the user must receive everything above it. That seq is below each message that
 * the user sent, that was shown to the user, or whose sending began after the acknowledgement of the join.
 * More cannot be determined from outside, as messages in flight at the time of the join may be on either side
 * of it.
 */
function dueFrom(
  evidence: Evidence,
  user: number,
  conversation: Conversation,
  events: readonly Event[],
  shown: ReadonlyMap<number, number>,
): number {
  if (!conversation.startsWith("g")) return 1;
  const joined = events.find((event): event is Of<"joined"> =>
    event.kind === "joined" && event.group === conversation
  );
  let due = Infinity;
  for (const [seq, { sender, cid }] of evidence.in(conversation)) {
    const sentAt = evidence.sending(sender, cid)?.sent.at ?? -Infinity;
    if (sender === user || shown.has(seq) || sentAt > (joined?.at ?? Infinity)) due = Math.min(due, seq);
  }
  return due;
}

/** The progress of a session, or of the shown messages, in a conversation. */
interface Track {
  last: number;
  readonly seqs: Set<number>;
}

/**
 * Checks that pushes on a session, and shown messages, have consecutive seqs of others (invariant I2). A
 * session begins at most one message after the shown ones, as the user cannot have sent DELIVERED for more
 * (I4).
 */
function checkOrder(
  evidence: Evidence,
  user: number,
  events: readonly Event[],
  dues: ReadonlyMap<Conversation, number>,
  found: Findings,
): void {
  const sessions = new Map<string, Track>();
  const eyes = new Map<Conversation, Track>();
  const begin = (conversation: Conversation) =>
    Math.max(eyes.get(conversation)?.last ?? 0, (dues.get(conversation) ?? Infinity) - 1);
  for (const event of events) {
    if (event.kind === "pushed") {
      const key = `${event.session} ${event.in}`;
      const before = sessions.get(key);
      const track = before ?? { last: begin(event.in), seqs: new Set() };
      sessions.set(key, track);
      follow(event, track, before !== undefined, `pushed on session ${event.session}`);
    } else if (event.kind === "shown") {
      const before = eyes.get(event.in);
      const track = before ?? { last: begin(event.in), seqs: new Set() };
      eyes.set(event.in, track);
      follow(event, track, before !== undefined, "shown");
    }
  }

  function follow({ in: conversation, seq, cid }: Seen, track: Track, goesOn: boolean, how: string): void {
    const place = { user, in: conversation, seq, cid };
    if (track.seqs.has(seq)) found.add("duplicated", place, `${how} once more`);
    else if (goesOn && seq < track.last) found.add("reordered", place, `${how} behind seq ${track.last}`);
    const skipped = firstBetween(evidence, user, conversation, track.last, seq);
    if (skipped !== undefined) {
      found.add("gap", place, `${how} behind seq ${track.last}, and seq ${skipped} was left out`);
    }
    track.seqs.add(seq);
    track.last = seq;
  }
}

/** Returns the first seq of another user between two seqs. */
function firstBetween(
  evidence: Evidence,
  user: number,
  conversation: Conversation,
  after: number,
  before: number,
): number | undefined {
  const messages = evidence.in(conversation);
  const end = Math.min(before, evidence.lastOf(conversation) + 1);
  for (let seq = after + 1; seq < end; seq++) {
    const sender = messages.get(seq)?.sender;
    if (sender !== undefined && sender !== user) return seq;
  }
  return undefined;
}

/** Checks that a shown message equals that of the log, is addressed to the user, and is shown once. */
function checkContents(evidence: Evidence, user: number, events: readonly Event[], found: Findings): void {
  const cids = new Map<string, number>();
  const joining = new Map(
    events.flatMap((event) => event.kind === "joining" ? [[event.group, event.at] as const] : []).reverse(),
  );
  for (const event of events) {
    if (event.kind !== "pushed" && event.kind !== "shown") continue;
    const { in: conversation, seq, sender, cid } = event;
    const place = { user, in: conversation, seq, cid };
    checkContent(evidence, event, place, found);
    if (sender === user) found.add("own", place, "is the user's own");
    if (!evidence.partiesOf(conversation).includes(user)) {
      found.add("leaked", place, "pushed to a user that is no member");
    }
    const row = evidence.in(conversation).get(seq);
    if (row && evidence.knownAt(row) < (joining.get(conversation) ?? -Infinity)) {
      found.add("leaked", place, "was there before the user asked to join");
    }
    if (event.kind !== "shown") continue;
    const before = cids.get(`${sender} ${cid}`);
    if (before !== undefined) found.add("duplicated", place, `shown before as seq ${before}`);
    cids.set(`${sender} ${cid}`, seq);
  }
}

function checkContent(evidence: Evidence, event: Seen, place: Place, found: Findings): void {
  const row = evidence.in(event.in).get(event.seq);
  if (row?.sender === event.sender && row.cid === event.cid) {
    if (row.body !== event.body) found.add("altered", place, differing(row.body, event.body));
    return;
  }
  const elsewhere = evidence.rowOf(event.sender, event.cid);
  if (elsewhere) {
    found.add(
      "reordered",
      place,
      `came, but the log has it as ${elsewhere.in} seq ${elsewhere.seq}`,
    );
  } else found.add("invented", place, "came, and is not in the log");
}
