/** Queries and changes of a correct history, for `faulty_histories.ts`. */
import type { Random } from "../../harness/random.ts";
import type { Event, Logged } from "../history.ts";
import type { Of, Seen } from "./evidence.ts";
import type { Finding } from "./finding.ts";
import { LATE_MEMBER, type MutableHistory } from "./good_history.ts";

/** The expected part of a finding; the finding may have more fields. */
export type Expected = Omit<Partial<Finding>, "seen"> & Pick<Finding, "kind"> & { readonly seen?: RegExp };

export function isShown(event: Event): event is Of<"shown"> {
  return event.kind === "shown";
}

export function isPush(event: Event, session: number): event is Of<"pushed"> {
  return event.kind === "pushed" && event.session === session;
}

/** Returns all events of a kind with their users. */
export function all<K extends Event["kind"]>(history: MutableHistory, kind: K): [number, Of<K>][] {
  return [...history.users].flatMap(([user, events]) =>
    events.filter((event): event is Of<K> => event.kind === kind).map((
      event,
    ): [number, Of<K>] => [user, event])
  );
}

export function anyShown(
  history: MutableHistory,
  random: Random,
  which: (event: Of<"shown">) => boolean = () => true,
): [number, Of<"shown">] {
  // The first message that the late member must get cannot be determined from outside.
  return random.pick(all(history, "shown").filter(([user, event]) => user !== LATE_MEMBER && which(event)));
}

/** Returns `count` consecutive pushes of one session and conversation, and their user. */
export function pushedInARow(history: MutableHistory, count: number): [number, Of<"pushed">[]][] {
  const tracks = new Map<string, [number, Of<"pushed">[]]>();
  for (const [user, push] of all(history, "pushed")) {
    const key = `${user} ${push.session} ${push.in}`;
    const [, track] = tracks.get(key) ?? [user, []];
    tracks.set(key, [user, [...track, push]]);
  }
  return [...tracks.values()].filter(([, track]) => track.length >= count);
}

/** Returns the first pushes of sessions in conversations with earlier and later messages. */
export function firstPushes(history: MutableHistory): [number, Of<"pushed">][] {
  return pushedInARow(history, 2).flatMap(([user, [first]]): [number, Of<"pushed">][] => {
    const events = history.users.get(user)!;
    const next = events[events.indexOf(first!) + 1]!;
    return user !== LATE_MEMBER && isShown(next) && next.seq === first!.seq ? [[user, first!]] : [];
  });
}

/** Returns the first pushes of the last sessions that showed a new message. */
export function firstPushesInTheEnd(history: MutableHistory): [number, Of<"pushed">[]][] {
  return pushedInARow(history, 1).filter(([user, [first]]) => {
    const events = history.users.get(user)!;
    const next = events[events.indexOf(first!) + 1];
    return first!.at > history.healed && next?.kind === "shown" && next.seq === first!.seq;
  });
}

export function lastOf(history: MutableHistory, conversation: string): number {
  return Math.max(0, ...history.log.filter((row) => row.in === conversation).map(({ seq }) => seq));
}

/** Returns the next message of another user. */
export function nextOf(history: MutableHistory, user: number, conversation: string, seq: number): number {
  const later = history.log.filter((row) => row.in === conversation && row.sender !== user && row.seq > seq);
  return Math.min(...later.map(({ seq }) => seq));
}

export function remove<T>(from: T[], what: T): void {
  from.splice(from.indexOf(what), 1);
}

/** Removes the pushes and shows of a message to a user. */
export function forget(history: MutableHistory, user: number, which: (event: Seen) => boolean): void {
  const events = history.users.get(user)!;
  history.users.set(
    user,
    events.filter((event) => (event.kind !== "pushed" && event.kind !== "shown") || !which(event)),
  );
}

/** Changes all pushes and shows of a message to a user. */
export function replace(
  history: MutableHistory,
  user: number,
  shown: Of<"shown">,
  by: Partial<Logged>,
): void {
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

export function swap(events: Event[], a: Event, b: Event): void {
  const [i, j] = [events.indexOf(a), events.indexOf(b)];
  [events[i], events[j]] = [b, a];
}

/** Swaps the seqs of two messages of which one was acknowledged or pushed before the other was sent. */
export function swapOrder(
  history: MutableHistory,
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
  throw new Error("no user sent a message when another was known to be there");
}

export function unack(history: MutableHistory, { sender, cid }: Logged): void {
  const events = history.users.get(sender)!;
  history.users.set(sender, events.filter((event) => event.kind !== "acked" || event.cid !== cid));
}

export function unjoin(history: MutableHistory): void {
  const events = history.users.get(LATE_MEMBER)!;
  remove(events, events.find((event) => event.kind === "joined")!);
}
