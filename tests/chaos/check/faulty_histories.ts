/** Histories with a deliberate fault, each with the finding that the checker must report. */
import type { Random } from "../../harness/random.ts";
import type { Event } from "../history.ts";
import { GROUP, LATE_MEMBER, type MutableHistory, NON_MEMBER, OFFLINE_USER } from "./good_history.ts";
import {
  all,
  anyShown,
  type Expected,
  firstPushes,
  firstPushesInTheEnd,
  forget,
  isPush,
  isShown,
  lastOf,
  nextOf,
  pushedInARow,
  remove,
  replace,
  swap,
  swapOrder,
  unack,
  unjoin,
} from "./history_edits.ts";

/** Changes of a correct history, each with the expected finding. */
export const FAULTY_HISTORIES: Record<string, (history: MutableHistory, random: Random) => Expected> = {
  "the log's last message of a conversation is gone, which was acked"(history, random) {
    const row = random.pick(history.log.filter((row) => row.seq === lastOf(history, row.in)));
    remove(history.log, row);
    return { kind: "lost", user: row.sender, in: row.in, seq: row.seq, cid: row.cid };
  },
  "a message in the middle of the log is gone"(history, random) {
    const row = random.pick(history.log.filter((row) => row.seq < lastOf(history, row.in)));
    remove(history.log, row);
    return { kind: "gap", in: row.in, seq: row.seq };
  },
  "the log begins at 0"(history, random) {
    const row = random.pick(history.log.filter(({ seq }) => seq === 1));
    history.log.push({ ...row, seq: 0, cid: "zero" });
    return { kind: "gap", in: row.in, seq: 0 };
  },
  "a member never received a message"(history, random) {
    const [user, { in: in_, seq, cid }] = anyShown(history, random);
    forget(history, user, (event) => event.in === in_ && event.seq === seq);
    return { kind: "lost", user, in: in_, seq, cid };
  },
  "a member received nothing of a conversation from some message on"(history, random) {
    const [user, { in: in_, seq, cid }] = anyShown(history, random);
    forget(history, user, (event) => event.in === in_ && event.seq >= seq);
    return { kind: "lost", user, in: in_, seq, cid };
  },
  "a message from before a login was pushed long after the end of all faults"(history, random) {
    const [user, [first]] = random.pick(firstPushesInTheEnd(history));
    const { in: in_, seq } = first!;
    history.users.set(
      user,
      history.users.get(user)!.map((event) =>
        isShown(event) && event.in === in_ && event.seq === seq
          ? { ...event, at: history.healed + 20_000 }
          : event
      ),
    );
    return { kind: "late", user, in: in_, seq };
  },
  "a new member received nothing of the group"(history) {
    forget(history, LATE_MEMBER, (event) => event.in === GROUP);
    return { kind: "lost", user: LATE_MEMBER, in: GROUP };
  },
  "a member without a reply to its join, but with messages, misses a later one"(history) {
    history.members.get(GROUP)!.push(NON_MEMBER);
    const [, ...rows] = history.log.filter((row) => row.in === GROUP);
    const last = rows.pop()!;
    history.users.get(NON_MEMBER)!.push(...rows.map((row): Event => ({ kind: "shown", at: 10_000, ...row })));
    return { kind: "lost", user: NON_MEMBER, in: GROUP, seq: last.seq };
  },
  "a member without a reply to its join, but with an accepted message, misses later ones"(history) {
    unjoin(history);
    forget(history, LATE_MEMBER, (event) => event.in === GROUP);
    const own = history.log.find((row) => row.in === GROUP && row.sender === LATE_MEMBER)!;
    const later = history.log.find((row) =>
      row.in === GROUP && row.sender !== LATE_MEMBER && row.seq > own.seq
    )!;
    return { kind: "lost", user: LATE_MEMBER, in: GROUP, seq: later.seq };
  },
  "a session was pushed all messages but one, which another session received"(history, random) {
    const [user, { session, in: in_, seq }] = random.pick(
      pushedInARow(history, 3).map(([u, row]) => [u, row[1]!]),
    );
    const events = history.users.get(user)!;
    remove(events, events.find((event) => isPush(event, session) && event.in === in_ && event.seq === seq)!);
    return { kind: "gap", user, in: in_, seq: nextOf(history, user, in_, seq) };
  },
  "a session began after messages that were not delivered yet"(history, random) {
    const [user, { in: in_, seq }] = random.pick(firstPushes(history));
    forget(history, user, (event) => event.in === in_ && event.seq === seq);
    return {
      kind: "gap",
      user,
      in: in_,
      seq: nextOf(history, user, in_, seq),
      seen: /^pushed on session/,
    };
  },
  "a user was shown a message before an earlier one"(history, random) {
    const [user, { in: in_, seq }] = random.pick(firstPushes(history));
    forget(history, user, (event) => event.kind === "shown" && event.in === in_ && event.seq === seq);
    return { kind: "gap", user, in: in_, seq: nextOf(history, user, in_, seq), seen: /^shown/ };
  },
  "a message is in the log twice"(history, random) {
    const row = random.pick(history.log);
    const again = { ...row, seq: lastOf(history, row.in) + 1 };
    history.log.push(again);
    return { kind: "duplicated", user: row.sender, in: row.in, seq: again.seq, cid: row.cid };
  },
  "two messages have one seq"(history, random) {
    const row = random.pick(history.log);
    history.log.push({ ...row, cid: "other" });
    return { kind: "duplicated", in: row.in, seq: row.seq, cid: "other" };
  },
  "a message is shown twice"(history, random) {
    const [user, shown] = anyShown(history, random);
    history.users.get(user)!.push(shown);
    return { kind: "duplicated", user, in: shown.in, seq: shown.seq };
  },
  "a message is shown twice, the second time with another seq"(history, random) {
    const [user, shown] = anyShown(history, random);
    const seq = lastOf(history, shown.in) + 1;
    history.users.get(user)!.push({ ...shown, seq });
    return { kind: "duplicated", user, in: shown.in, seq, cid: shown.cid };
  },
  "a message is pushed twice on a session"(history, random) {
    const [user, [push]] = random.pick(pushedInARow(history, 1));
    const events = history.users.get(user)!;
    events.splice(events.indexOf(push!), 0, push!);
    return { kind: "duplicated", user, in: push!.in, seq: push!.seq };
  },
  "two pushes of a session are swapped"(history, random) {
    const [user, [first, second]] = random.pick(pushedInARow(history, 2));
    swap(history.users.get(user)!, first!, second!);
    return { kind: "reordered", user, in: first!.in, seq: first!.seq };
  },
  "two messages are shown in the wrong order"(history, random) {
    const [user, shown] = anyShown(history, random, ({ seq }) => seq > 2);
    const events = history.users.get(user)!;
    const before = events.findLast((event) =>
      isShown(event) && event.in === shown.in && event.seq < shown.seq
    );
    if (before?.kind !== "shown") return { kind: "reordered", ...swapOrder(history) };
    swap(events, before, shown);
    return { kind: "reordered", user, in: shown.in, seq: before.seq };
  },
  "a message is in the log before one that was acked when it was sent"(history) {
    return { kind: "reordered", ...swapOrder(history) };
  },
  "a message is in the log before one that was pushed when it was sent"(history) {
    return { kind: "reordered", ...swapOrder(history, "pushed") };
  },
  "a message is pushed with the seq of another"(history, random) {
    const [user, shown] = anyShown(history, random);
    const other = random.pick(history.log.filter((row) => row.in === shown.in && row.seq !== shown.seq));
    const { sender, cid, body } = other ?? shown;
    replace(history, user, shown, { sender, cid, body });
    return { kind: "reordered", user, in: shown.in, seq: shown.seq, cid };
  },
  "a message that was never sent is pushed"(history, random) {
    const [user, shown] = anyShown(history, random);
    replace(history, user, shown, { cid: "unknown" });
    return { kind: "invented", user, in: shown.in, seq: shown.seq, cid: "unknown" };
  },
  "a message that was never sent is in the log"(history, random) {
    const row = random.pick(history.log);
    const events = history.users.get(row.sender)!;
    remove(events, events.find((event) => event.kind === "sent" && event.cid === row.cid)!);
    return { kind: "invented", user: row.sender, in: row.in, seq: row.seq, seen: /^in the log/ };
  },
  "a message that was never sent is acked"(history, random) {
    const user = random.pick([...history.users.keys()]);
    history.users.get(user)!.push({ kind: "acked", at: 10_000, cid: "unsent", to: GROUP, seq: 1 });
    return { kind: "invented", user, cid: "unsent" };
  },
  "a text has changed on its way to the log"(history, random) {
    const row = random.pick(history.log);
    history.log[history.log.indexOf(row)] = { ...row, body: `${row.body}!` };
    return { kind: "altered", user: row.sender, in: row.in, seq: row.seq, cid: row.cid };
  },
  "a text has changed on its way to a member"(history, random) {
    const [user, shown] = anyShown(history, random);
    replace(history, user, shown, { body: shown.body.toUpperCase() });
    return { kind: "altered", user, in: shown.in, seq: shown.seq, cid: shown.cid };
  },
  "a message is in another conversation than the one it was sent to"(history, random) {
    const row = random.pick(
      history.log.filter((row) => row.in !== GROUP && row.seq === lastOf(history, row.in)),
    );
    const seq = lastOf(history, GROUP) + 1;
    history.log[history.log.indexOf(row)] = { ...row, in: GROUP, seq };
    return { kind: "altered", user: row.sender, in: GROUP, seq, cid: row.cid };
  },
  "a second ack names another seq"(history, random) {
    const [user, ack] = random.pick(all(history, "acked"));
    history.users.get(user)!.push({ ...ack, seq: ack.seq + 1 });
    return { kind: "misacked", user, in: ack.to, seq: ack.seq + 1, cid: ack.cid };
  },
  "an ack names another conversation"(history, random) {
    const [user, ack] = random.pick(all(history, "acked"));
    history.users.get(user)!.push({ ...ack, to: "8-9" });
    return { kind: "misacked", user, in: "8-9", cid: ack.cid };
  },
  "a message was never acked"(history, random) {
    const row = random.pick(history.log);
    unack(history, row);
    return { kind: "unacked", user: row.sender, in: row.in, cid: row.cid };
  },
  "a user is pushed its own message"(history, random) {
    const row = random.pick(history.log);
    history.users.get(row.sender)!.push({ kind: "pushed", at: 10_000, session: 1_000, ...row });
    return { kind: "own", user: row.sender, in: row.in, seq: row.seq, cid: row.cid };
  },
  "a user who is no member is pushed a message of the group"(history, random) {
    const row = random.pick(history.log.filter((row) => row.in === GROUP));
    history.users.get(NON_MEMBER)!.push({ kind: "pushed", at: 10_000, session: 1_000, ...row });
    return { kind: "leaked", user: NON_MEMBER, in: GROUP, seq: row.seq };
  },
  "a user who is no member has a message in the group"(history) {
    const seq = lastOf(history, GROUP) + 1;
    history.log.push({ in: GROUP, seq, sender: NON_MEMBER, cid: "non-member's", body: "" });
    return { kind: "leaked", user: NON_MEMBER, in: GROUP, seq };
  },
  "a new member is shown messages from before its request to join"(history) {
    const joining = history.users.get(LATE_MEMBER)!.find((event) => event.kind === "joining");
    const early = all(history, "acked").find(([, { to, at }]) => to === GROUP && at < joining!.at)![1];
    const row = history.log.find(({ cid }) => cid === early.cid)!;
    history.users.get(LATE_MEMBER)!.push({ kind: "shown", at: 10_000, ...row });
    return { kind: "leaked", user: LATE_MEMBER, in: GROUP, seq: row.seq };
  },
  "a user with an acknowledged join is no member"(history) {
    remove(history.members.get(GROUP)!, LATE_MEMBER);
    return { kind: "membership", user: LATE_MEMBER, in: GROUP };
  },
  "an offline user is shown as online"(history, random) {
    const [user, event] = random.pick(all(history, "friends"));
    const online = [...event.online, OFFLINE_USER];
    history.users.get(user)!.push({ ...event, online, offline: [] });
    return { kind: "presence", user };
  },
  "an online user is shown as offline"(history, random) {
    const [user, event] = random.pick(all(history, "friends"));
    history.users.get(user)!.push({
      ...event,
      online: event.online.slice(1),
      offline: event.online.slice(0, 1),
    });
    return { kind: "presence", user };
  },
  "a user does not report the states of its friends"(history, random) {
    const [user, event] = random.pick(all(history, "friends"));
    remove(history.users.get(user)!, event);
    return { kind: "presence", user };
  },
  "the database shows an offline user as online"(history) {
    history.states.add(OFFLINE_USER);
    return { kind: "presence", user: OFFLINE_USER };
  },
  "the database shows an online user as offline"(history, random) {
    const user = random.pick([...history.online]);
    history.states.delete(user);
    return { kind: "presence", user };
  },
  "a cursor is behind the delivered messages"(history, random) {
    const [user, { in: in_, seq }] = anyShown(history, random);
    history.cursors.get(user)!.set(in_, seq - 1);
    return { kind: "cursor", user, in: in_ };
  },
  "a cursor is past the end"(history, random) {
    const [user, { in: in_ }] = anyShown(history, random);
    history.cursors.get(user)!.set(in_, lastOf(history, in_) + 1);
    return { kind: "cursor", user, in: in_ };
  },
};
