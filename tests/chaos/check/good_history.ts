/** Random correct histories, for tests of the checker. */
import { Random } from "../../harness/random.ts";
import type { Conversation, Event, History, Logged } from "../history.ts";

/** A history that tests can change. */
export interface MutableHistory extends History {
  readonly users: Map<number, Event[]>;
  readonly log: Logged[];
  readonly online: Set<number>;
  readonly members: Map<Conversation, number[]>;
  readonly states: Set<number>;
  readonly cursors: Map<number, Map<Conversation, number>>;
}

const USERS = 6;
/** The only group. */
export const GROUP: Conversation = "g1";
/** The user that joins the group in the middle. */
export const LATE_MEMBER = 2;
/** The user that never joins the group. */
export const NON_MEMBER = 5;
/** The user that is offline in the end. */
export const OFFLINE_USER = 6;

/** A message that is not committed yet. */
interface Pending {
  readonly sender: number;
  readonly in: Conversation;
  readonly cid: string;
  readonly body: string;
}

/** A user of the simulation, and the server's state of it. */
class Person {
  readonly events: Event[] = [];
  session = 0;
  /** The last pushed seq of each conversation. */
  pushed = new Map<Conversation, number>();
  readonly shown = new Map<Conversation, number>();
  readonly cursors = new Map<Conversation, number>();
}

/** Returns a correct history of a number of steps: sends, commits, acks, pushes and logins. */
export function goodHistory(seed: number, steps = 600): MutableHistory {
  const random = new Random(seed);
  const people = new Map(Array.from({ length: USERS }, (_, i) => [i + 1, new Person()]));
  const ids = [...people.keys()];
  const log = new Map<Conversation, Logged[]>();
  const members = [1, 3, 4, OFFLINE_USER];
  let [pending, unacked]: [Pending[], Logged[]] = [[], []];
  let at = 0;
  let sent = 0;

  const messages = (conversation: Conversation) => log.get(conversation) ?? [];
  const parties = (conversation: Conversation) =>
    conversation === GROUP ? members : conversation.split("-").map(Number);

  function send(sender: number): void {
    const others = ids.filter((id) => id !== sender);
    const to = random.pick(others);
    const inGroup = members.includes(sender) && random.below(2) === 0;
    const conversation = inGroup ? GROUP : [sender, to].sort().join("-");
    const message = { sender, in: conversation, cid: `c${++sent}`, body: `text ${sent}` };
    people.get(sender)!.events.push(
      { kind: "sent", at: at++, cid: message.cid, to: conversation, body: message.body },
    );
    pending.push(message);
  }

  function commit(): void {
    const message = random.pick(pending);
    pending = pending.filter((other) => other !== message);
    const row = { ...message, seq: messages(message.in).length + 1 };
    log.set(message.in, [...messages(message.in), row]);
    unacked.push(row);
  }

  function ack(): void {
    const row = random.pick(unacked);
    // otherwise it is acknowledged again
    if (random.below(5) > 0) unacked = unacked.filter((other) => other !== row);
    const { sender, cid, in: to, seq } = row;
    people.get(sender)!.events.push({ kind: "acked", at: at++, cid, to, seq });
  }

  function push(user: number, conversation: Conversation): boolean {
    const person = people.get(user)!;
    let after = person.pushed.get(conversation) ?? person.cursors.get(conversation) ?? 0;
    const row = messages(conversation).slice(after).find(({ seq, sender }) => (after = seq, sender !== user));
    person.pushed.set(conversation, after);
    if (!row) return false;
    person.events.push({ kind: "pushed", at: at++, session: person.session, ...row });
    if (row.seq <= (person.shown.get(conversation) ?? 0)) return true;
    person.shown.set(conversation, row.seq);
    person.events.push({ kind: "shown", at: at++, ...row });
    return true;
  }

  function login(person: Person): void {
    person.events.push({ kind: "entered", at: at++, session: ++person.session });
    person.pushed = new Map();
  }

  function join(): void {
    const { events, cursors } = people.get(LATE_MEMBER)!;
    events.push({ kind: "joining", at: at++, group: GROUP });
    if (pending.length > 0) commit(); // the message may be on either side of the join
    members.push(LATE_MEMBER);
    cursors.set(GROUP, messages(GROUP).length);
    if (pending.length > 0) commit();
    events.push({ kind: "joined", at: at++, group: GROUP });
  }

  for (const id of members) people.get(id)!.events.push({ kind: "joined", at: at++, group: GROUP });
  for (const person of people.values()) login(person);
  for (let step = 0; step < steps; step++) {
    if (step === steps / 2) join();
    const user = random.pick(ids);
    const person = people.get(user)!;
    const mine = [...log.keys()].filter((conversation) => parties(conversation).includes(user));
    const what = random.below(20);
    if (what < 6) send(user);
    else if (what < 11 && pending.length > 0) commit();
    else if (what < 15 && unacked.length > 0) ack();
    else if (what === 15) login(person);
    else if (what === 16 && mine.length > 0) {
      const conversation = random.pick(mine);
      const cursor = Math.max(person.cursors.get(conversation) ?? 0, person.shown.get(conversation) ?? 0);
      person.cursors.set(conversation, cursor);
    } else if (mine.length > 0) {
      const conversation = random.pick(mine);
      for (let left = random.below(5); left > 0 && push(user, conversation); left--);
    }
  }
  while (pending.length > 0) commit();
  while (unacked.length > 0) ack();
  const healed = at;
  const online = new Set(ids.filter((id) => id !== OFFLINE_USER));
  for (const [user, person] of people) {
    login(person);
    for (const [conversation, { length }] of log) {
      if (!parties(conversation).includes(user)) continue;
      while (push(user, conversation));
      person.cursors.set(conversation, length);
    }
    const friends = ids.filter((id) => id !== user);
    if (!online.has(user)) continue;
    person.events.push({
      kind: "friends",
      online: friends.filter((id) => online.has(id)),
      offline: friends.filter((id) => !online.has(id)),
    });
  }
  return {
    healed,
    users: new Map([...people].map(([id, { events }]) => [id, events])),
    log: [...log.values()].flat(),
    online,
    members: new Map([[GROUP, members]]),
    states: new Set(online),
    cursors: new Map([...people].map(([id, { cursors }]) => [id, cursors])),
  };
}
