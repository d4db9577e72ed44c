/** Checks of the log, and of its agreement with the sent messages and their acks. */
import type { Logged } from "../history.ts";
import type { Findings } from "./finding.ts";
import type { Evidence, Of } from "./evidence.ts";

/** Checks the log and the acks. */
export function checkLog(evidence: Evidence, found: Findings): void {
  checkRows(evidence, found);
  for (const conversation of evidence.conversations.keys()) {
    checkGaps(evidence, conversation, found);
    checkOrder(evidence, conversation, found);
  }
  for (const [user, events] of evidence.history.users) {
    for (const event of events) {
      if (event.kind === "sent") checkSent(evidence, user, event, found);
      else if (event.kind === "acked") checkAck(evidence, user, event, found);
    }
  }
}

/** Checks that each seq and each cid has one message, with its text and conversation unchanged. */
function checkRows(evidence: Evidence, found: Findings): void {
  for (const row of evidence.history.log) {
    const { in: conversation, seq, sender, cid, body } = row;
    const place = { user: sender, in: conversation, seq, cid };
    if (seq < 1) found.add("gap", place, "seqs begin at 1");
    if (evidence.in(conversation).get(seq) !== row) {
      found.add("duplicated", place, "a second message with this seq");
    }
    const first = evidence.rowOf(sender, cid)!;
    if (first !== row) found.add("duplicated", place, `stored before as ${first.in} seq ${first.seq}`);
    const sending = evidence.sending(sender, cid);
    if (!sending) found.add("invented", place, "in the log, and never sent");
    else if (sending.sent.to !== conversation) found.add("altered", place, `was sent to ${sending.sent.to}`);
    else if (sending.sent.body !== body) found.add("altered", place, differing(sending.sent.body, body));
    if (!evidence.partiesOf(conversation).includes(sender)) {
      found.add("leaked", place, "its sender has no place here");
    }
  }
}

/** Checks that the seqs are 1, 2, 3, … */
function checkGaps(evidence: Evidence, conversation: string, found: Findings): void {
  const messages = evidence.in(conversation);
  let missing = evidence.lastOf(conversation) - messages.size;
  for (let seq = 1; missing > 0; seq++) {
    if (messages.has(seq)) continue;
    found.add("gap", { in: conversation, seq }, "not in the log, though later ones are");
    missing--;
  }
}

/**
 * Checks that a message has a higher seq than every message that any user knew when it was sent, as commits
 * assign seqs and its commit was still to come.
 */
function checkOrder(evidence: Evidence, conversation: string, found: Findings): void {
  const rows = [...evidence.in(conversation).values()];
  const known = rows.filter((row) => evidence.knownAt(row) < Infinity)
    .sort((a, b) => evidence.knownAt(a) - evidence.knownAt(b));
  const sent = rows.flatMap((row) => {
    const sending = evidence.sending(row.sender, row.cid);
    return sending ? [{ row, at: sending.sent.at }] : [];
  }).sort((a, b) => a.at - b.at);
  let [next, highest]: [number, Logged | undefined] = [0, undefined];
  for (const { row, at } of sent) {
    for (; next < known.length && evidence.knownAt(known[next]!) < at; next++) {
      if (known[next]!.seq > (highest?.seq ?? 0)) highest = known[next]!;
    }
    if (highest && highest.seq > row.seq) {
      const { sender: user, cid, seq } = row;
      found.add("reordered", { user, in: conversation, seq, cid }, `sent when seq ${highest.seq} was known`);
    }
  }
}

function checkSent(evidence: Evidence, user: number, { cid, to }: Of<"sent">, found: Findings): void {
  const { acks } = evidence.sending(user, cid)!;
  if (acks.length === 0) found.add("unacked", { user, in: to, cid }, "sent, and never acked");
}

/**
 * Checks that an acknowledged message is in the log as its ack says (I1), and that all its acks agree (I5).
 */
function checkAck(evidence: Evidence, user: number, { cid, to, seq }: Of<"acked">, found: Findings): void {
  const place = { user, in: to, seq, cid };
  const sending = evidence.sending(user, cid);
  if (!sending) return found.add("invented", place, "acked, and never sent");
  const row = evidence.rowOf(user, cid);
  if (!row) return found.add("lost", place, "acked, and not in the log");
  if (row.in !== to || row.seq !== seq) {
    found.add("misacked", place, `the log has it as ${row.in} seq ${row.seq}`);
  }
}

/** Describes the difference of two texts in a few words. */
export function differing(was: string, is: string): string {
  let at = 0;
  while (at < was.length && was[at] === is[at]) at++;
  const some = (text: string) => JSON.stringify(text.slice(at, at + 20));
  return `from its character ${at} on, ${some(was)} has become ${
    some(is)
  } (lengths ${was.length}, ${is.length})`;
}
