import { assert, assertEquals } from "@std/assert";
import { bugNames, plant } from "./chaos/bugs.ts";
import { check, type Finding, lineOf } from "./chaos/checker.ts";
import { goodHistory, GROUP, LATE, OFFLINE, type Spoilable, STRANGER } from "./chaos/check/good_history.ts";
import type { Of, Seen } from "./chaos/check/evidence.ts";
import type { Event, Logged } from "./chaos/history.ts";
import { Random } from "./harness/random.ts";

const SEEDS = 10;

/** What must be found of a history that was spoilt: the findings may say more. */
type Expected = Omit<Partial<Finding>, "seen"> & Pick<Finding, "kind"> & { readonly seen?: RegExp };

/** Ways to spoil a good history, each with what must be found then. */
const SPOILS: Record<string, (history: Spoilable, random: Random) => Expected> = {
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
  "a member never got a message"(history, random) {
    const [user, { in: in_, seq, cid }] = anyShown(history, random);
    forget(history, user, (event) => event.in === in_ && event.seq === seq);
    return { kind: "lost", user, in: in_, seq, cid };
  },
  "a member got nothing of a conversation from some message on"(history, random) {
    const [user, { in: in_, seq, cid }] = anyShown(history, random);
    forget(history, user, (event) => event.in === in_ && event.seq >= seq);
    return { kind: "lost", user, in: in_, seq, cid };
  },
  "a message that was there at the login came long after all was well"(history, random) {
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
  "who has joined got nothing of the group"(history) {
    forget(history, LATE, (event) => event.in === GROUP);
    return { kind: "lost", user: LATE, in: GROUP };
  },
  "who was never told that it has joined, but got messages, misses a later one"(history) {
    history.members.get(GROUP)!.push(STRANGER);
    const [, ...rows] = history.log.filter((row) => row.in === GROUP);
    const last = rows.pop()!;
    history.users.get(STRANGER)!.push(...rows.map((row): Event => ({ kind: "shown", at: 10_000, ...row })));
    return { kind: "lost", user: STRANGER, in: GROUP, seq: last.seq };
  },
  "who was never told that it has joined, but could send, misses what came then"(history) {
    unjoin(history);
    forget(history, LATE, (event) => event.in === GROUP);
    const own = history.log.find((row) => row.in === GROUP && row.sender === LATE)!;
    const later = history.log.find((row) => row.in === GROUP && row.sender !== LATE && row.seq > own.seq)!;
    return { kind: "lost", user: LATE, in: GROUP, seq: later.seq };
  },
  "a session was pushed all but one in the middle, which came before or after"(history, random) {
    const [user, { session, in: in_, seq }] = random.pick(
      pushedInARow(history, 3).map(([u, row]) => [u, row[1]!]),
    );
    const events = history.users.get(user)!;
    remove(events, events.find((event) => isPush(event, session) && event.in === in_ && event.seq === seq)!);
    return { kind: "gap", user, in: in_, seq: nextOf(history, user, in_, seq) };
  },
  "a session began behind what was still to come"(history, random) {
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
  "a user was shown a message when one before it was still to come"(history, random) {
    const [user, { in: in_, seq }] = random.pick(firstPushes(history));
    forget(history, user, (event) => event.kind === "shown" && event.in === in_ && event.seq === seq);
    return { kind: "gap", user, in: in_, seq: nextOf(history, user, in_, seq), seen: /^shown/ };
  },
  "a message is in the log twice"(history, random) {
    const row = random.pick(history.log);
    const again = { ...row, seq: lastOf(history, row.in) + 1 };
    history.log.push(again);
    return { kind: "doubled", user: row.sender, in: row.in, seq: again.seq, cid: row.cid };
  },
  "two messages have one seq"(history, random) {
    const row = random.pick(history.log);
    history.log.push({ ...row, cid: "other" });
    return { kind: "doubled", in: row.in, seq: row.seq, cid: "other" };
  },
  "a message is shown twice"(history, random) {
    const [user, shown] = anyShown(history, random);
    history.users.get(user)!.push(shown);
    return { kind: "doubled", user, in: shown.in, seq: shown.seq };
  },
  "a message is shown twice, the second time with another seq"(history, random) {
    const [user, shown] = anyShown(history, random);
    const seq = lastOf(history, shown.in) + 1;
    history.users.get(user)!.push({ ...shown, seq });
    return { kind: "doubled", user, in: shown.in, seq, cid: shown.cid };
  },
  "a message is pushed twice on a session"(history, random) {
    const [user, [push]] = random.pick(pushedInARow(history, 1));
    const events = history.users.get(user)!;
    events.splice(events.indexOf(push!), 0, push!);
    return { kind: "doubled", user, in: push!.in, seq: push!.seq };
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
    if (before?.kind !== "shown") return { kind: "reordered", ...spoilOrder(history) };
    swap(events, before, shown);
    return { kind: "reordered", user, in: shown.in, seq: before.seq };
  },
  "a message is in the log before one that was acked when it was sent"(history) {
    return { kind: "reordered", ...spoilOrder(history) };
  },
  "a message is in the log before one that was pushed when it was sent"(history) {
    return { kind: "reordered", ...spoilOrder(history, "pushed") };
  },
  "a message is pushed with the seq of another"(history, random) {
    const [user, shown] = anyShown(history, random);
    const other = random.pick(history.log.filter((row) => row.in === shown.in && row.seq !== shown.seq));
    const { sender, cid, body } = other ?? shown;
    replace(history, user, shown, { sender, cid, body });
    return { kind: "reordered", user, in: shown.in, seq: shown.seq, cid };
  },
  "a message that nobody has sent is pushed"(history, random) {
    const [user, shown] = anyShown(history, random);
    replace(history, user, shown, { cid: "nobody's" });
    return { kind: "invented", user, in: shown.in, seq: shown.seq, cid: "nobody's" };
  },
  "a message that nobody has sent is in the log"(history, random) {
    const row = random.pick(history.log);
    const events = history.users.get(row.sender)!;
    remove(events, events.find((event) => event.kind === "sent" && event.cid === row.cid)!);
    return { kind: "invented", user: row.sender, in: row.in, seq: row.seq, seen: /^in the log/ };
  },
  "a message that nobody has sent is acked"(history, random) {
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
  "a message is in another conversation than that to which it was sent"(history, random) {
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
  "a stranger is pushed a message of the group"(history, random) {
    const row = random.pick(history.log.filter((row) => row.in === GROUP));
    history.users.get(STRANGER)!.push({ kind: "pushed", at: 10_000, session: 1_000, ...row });
    return { kind: "leaked", user: STRANGER, in: GROUP, seq: row.seq };
  },
  "a stranger has a message in the group"(history) {
    const seq = lastOf(history, GROUP) + 1;
    history.log.push({ in: GROUP, seq, sender: STRANGER, cid: "stranger's", body: "" });
    return { kind: "leaked", user: STRANGER, in: GROUP, seq };
  },
  "a new member is shown what was there before it asked to join"(history) {
    const joining = history.users.get(LATE)!.find((event) => event.kind === "joining");
    const early = all(history, "acked").find(([, { to, at }]) => to === GROUP && at < joining!.at)![1];
    const row = history.log.find(({ cid }) => cid === early.cid)!;
    history.users.get(LATE)!.push({ kind: "shown", at: 10_000, ...row });
    return { kind: "leaked", user: LATE, in: GROUP, seq: row.seq };
  },
  "who has joined is no member"(history) {
    remove(history.members.get(GROUP)!, LATE);
    return { kind: "membership", user: LATE, in: GROUP };
  },
  "somebody is seen as online who is not"(history, random) {
    const [user, event] = random.pick(all(history, "friends"));
    const online = [...event.online, OFFLINE];
    history.users.get(user)!.push({ ...event, online, offline: [] });
    return { kind: "presence", user };
  },
  "somebody is seen as offline who is online"(history, random) {
    const [user, event] = random.pick(all(history, "friends"));
    history.users.get(user)!.push({
      ...event,
      online: event.online.slice(1),
      offline: event.online.slice(0, 1),
    });
    return { kind: "presence", user };
  },
  "somebody does not say whom it sees"(history, random) {
    const [user, event] = random.pick(all(history, "friends"));
    remove(history.users.get(user)!, event);
    return { kind: "presence", user };
  },
  "the database has somebody as online who is not"(history) {
    history.states.add(OFFLINE);
    return { kind: "presence", user: OFFLINE };
  },
  "the database has somebody as offline who is online"(history, random) {
    const user = random.pick([...history.online]);
    history.states.delete(user);
    return { kind: "presence", user };
  },
  "a cursor has stayed behind"(history, random) {
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

Deno.test("the checker finds nothing in good histories", () => {
  for (let seed = 0; seed < 100; seed++) {
    assertEquals(check(goodHistory(seed)).map(lineOf), [], `seed ${seed}`);
  }
});

Deno.test("the checker takes a run of usual length in little time", () => {
  const began = performance.now();
  const history = goodHistory(1, 30_000);
  const made = performance.now();
  assertEquals(check(history), []);
  const events = [...history.users.values()].reduce((sum, { length }) => sum + length, 0);
  assert(events > 20_000, `${events} events`);
  assert(
    performance.now() - made < 10_000,
    `took ${performance.now() - made} ms, and making it ${made - began} ms`,
  );
});

for (const [what, spoil] of Object.entries(SPOILS)) {
  Deno.test(`the checker finds that ${what}`, () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const history = goodHistory(seed);
      const expected = spoil(history, new Random(seed));
      const found = check(history);
      const isIt = (finding: Finding) =>
        Object.entries(expected).every(([key, value]) => {
          const is = finding[key as keyof Finding];
          return value instanceof RegExp ? value.test(String(is)) : is === value;
        });
      assert(
        found.some(isIt),
        `seed ${seed}: ${JSON.stringify(expected)} not in\n${found.map(lineOf).join("\n")}`,
      );
    }
  });
}

Deno.test("the checker says in one line what was seen of which message by whom", () => {
  const history = goodHistory(1);
  const row = history.log.find(({ seq }) => seq === 1)!;
  history.log[history.log.indexOf(row)] = { ...row, body: "other\ntext" };
  const [line] = check(history).map(lineOf);
  assertEquals(
    line,
    `altered: user ${row.sender}, ${row.in}, seq 1, cid ${row.cid}: from its character 0 on, ` +
      `${JSON.stringify(row.body)} has become "other\\ntext" (lengths ${row.body.length}, 10)`,
  );
});

function isShown(event: Event): event is Of<"shown"> {
  return event.kind === "shown";
}

function isPush(event: Event, session: number): event is Of<"pushed"> {
  return event.kind === "pushed" && event.session === session;
}

/** All events of a kind, with whose they are. */
function all<K extends Event["kind"]>(history: Spoilable, kind: K): [number, Of<K>][] {
  return [...history.users].flatMap(([user, events]) =>
    events.filter((event): event is Of<K> => event.kind === kind).map((
      event,
    ): [number, Of<K>] => [user, event])
  );
}

function anyShown(
  history: Spoilable,
  random: Random,
  which: (event: Of<"shown">) => boolean = () => true,
): [number, Of<"shown">] {
  // Of the one who joins late it can't be told from which message on it must have the group.
  return random.pick(all(history, "shown").filter(([user, event]) => user !== LATE && which(event)));
}

/** Pushes of one session and conversation, so many directly behind each other in its order; whose they are. */
function pushedInARow(history: Spoilable, count: number): [number, Of<"pushed">[]][] {
  const tracks = new Map<string, [number, Of<"pushed">[]]>();
  for (const [user, push] of all(history, "pushed")) {
    const key = `${user} ${push.session} ${push.in}`;
    const [, track] = tracks.get(key) ?? [user, []];
    tracks.set(key, [user, [...track, push]]);
  }
  return [...tracks.values()].filter(([, track]) => track.length >= count);
}

/** First pushes of sessions, of conversations of which the user had all before and more comes. */
function firstPushes(history: Spoilable): [number, Of<"pushed">][] {
  return pushedInARow(history, 2).flatMap(([user, [first]]): [number, Of<"pushed">][] => {
    const events = history.users.get(user)!;
    const next = events[events.indexOf(first!) + 1]!;
    return user !== LATE && isShown(next) && next.seq === first!.seq ? [[user, first!]] : [];
  });
}

/** First pushes of the last sessions, of what was not had before. */
function firstPushesInTheEnd(history: Spoilable): [number, Of<"pushed">[]][] {
  return pushedInARow(history, 1).filter(([user, [first]]) => {
    const events = history.users.get(user)!;
    const next = events[events.indexOf(first!) + 1];
    return first!.at > history.healed && next?.kind === "shown" && next.seq === first!.seq;
  });
}

function lastOf(history: Spoilable, conversation: string): number {
  return Math.max(0, ...history.log.filter((row) => row.in === conversation).map(({ seq }) => seq));
}

/** The next message of others. */
function nextOf(history: Spoilable, user: number, conversation: string, seq: number): number {
  const later = history.log.filter((row) => row.in === conversation && row.sender !== user && row.seq > seq);
  return Math.min(...later.map(({ seq }) => seq));
}

function remove<T>(from: T[], what: T): void {
  from.splice(from.indexOf(what), 1);
}

/** Removes what a user was pushed and shown. */
function forget(history: Spoilable, user: number, which: (event: Seen) => boolean): void {
  const events = history.users.get(user)!;
  history.users.set(
    user,
    events.filter((event) => (event.kind !== "pushed" && event.kind !== "shown") || !which(event)),
  );
}

/** Changes a message everywhere that a user was pushed and shown it. */
function replace(history: Spoilable, user: number, shown: Of<"shown">, by: Partial<Logged>): void {
  const events = history.users.get(user)!;
  history.users.set(
    user,
    events.map((event) =>
      (event.kind === "pushed" || event.kind === "shown") && event.in === shown.in && event.seq === shown.seq
        ? { ...event, ...by }
        : event
    ),
  );
}

function swap(events: Event[], a: Event, b: Event): void {
  const [i, j] = [events.indexOf(a), events.indexOf(b)];
  [events[i], events[j]] = [b, a];
}

/** Swaps the seqs of two messages, of which one was acked, or pushed to somebody, before the other was sent. */
function spoilOrder(
  history: Spoilable,
  by: "acked" | "pushed" = "acked",
): Pick<Expected, "user" | "in" | "cid" | "seen"> & { in: string } {
  const sent = new Map(all(history, "sent").map(([, event]) => [event.cid, event.at]));
  for (const [, { cid, at }] of all(history, by)) {
    const first = history.log.find((row) => row.cid === cid)!;
    const second = history.log.find((row) => row.in === first.in && sent.get(row.cid)! > at);
    if (!second) continue;
    if (by === "pushed") unack(history, first);
    history.log[history.log.indexOf(first)] = { ...first, seq: second.seq };
    history.log[history.log.indexOf(second)] = { ...second, seq: first.seq };
    return { user: second.sender, in: second.in, cid: second.cid, seen: /^sent when/ };
  }
  throw new Error("nobody sent a message when another was known to be there");
}

function unack(history: Spoilable, { sender, cid }: Logged): void {
  const events = history.users.get(sender)!;
  history.users.set(sender, events.filter((event) => event.kind !== "acked" || event.cid !== cid));
}

function unjoin(history: Spoilable): void {
  const events = history.users.get(LATE)!;
  remove(events, events.find((event) => event.kind === "joined")!);
}

Deno.test("the source can still be given each deliberate bug, and compiles with all of them", async () => {
  await using tree = await plant(...bugNames);
  const check = new Deno.Command(Deno.execPath(), { args: ["check", "main.ts"], cwd: tree.root });
  const { success, stderr } = await check.output();
  assert(success, new TextDecoder().decode(stderr));
});
