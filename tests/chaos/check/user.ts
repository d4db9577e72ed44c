/** What each user must have seen, and in what order. */
import type { Conversation, Event } from "../history.ts";
import type { Findings, Place } from "./finding.ts";
import { differing } from "./log.ts";
import type { Evidence, Of, Seen } from "./evidence.ts";

/** ms in which a login must bring what was there before it, if all is well, on a machine that has much else to do. */
const DELIVERY_TIMEOUT_MS = 15_000;

/** Checks what one user was pushed and shown, and that nothing is missing. */
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
        // A login looks at what was missed when it has subscribed: that needs no hint (invariant I3).
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
 * From which seq on a user must have a conversation: all of a pair's. Of a group's, joining puts the user's cursor at
 * the last seq, so all above must come, wherever that was. It was below any message that the user sent itself, or
 * that was shown to it, or that a user began to send when the joining had been acked; that is as much as can be
 * told from outside, since messages under way at the joining may come to lie on either side of it.
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

/** How far a session, or the user's eyes, have come in a conversation. */
interface Track {
  last: number;
  readonly seqs: Set<number>;
}

/**
 * On one session, and before the user's eyes, a conversation's messages of others come one after the other with none
 * left out (invariant I2). A session begins no later than right behind what the user has been shown, since the user
 * can't have said DELIVERED of more (I4).
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

/** The first seq of another user between two. */
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

/** Each message that a user sees is the one of the log, for that user, and shown once. */
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
      found.add("leaked", place, "came to a stranger");
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
