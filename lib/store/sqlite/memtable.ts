/**
 * The newest messages. They lie in the order in which they came, so that a commit writes one page for many of them and
 * not several for each. From there they are settled: moved, many at a time and sorted, to where each conversation's
 * lie together. Until then they are found in memory.
 */
import type { DatabaseSync } from "node:sqlite";
import type { Key } from "../conversation.ts";
import type { StoredMessage } from "../store.ts";
import { textOf } from "./text.ts";

/** A message that is not settled. */
export interface RecentMessage extends Omit<StoredMessage, "senderName"> {
  /** Its place in the order in which they came. */
  readonly n: number;
  readonly key: Key;
}

/** Of one conversation, those that a transaction settles. */
interface Run {
  readonly key: Key;
  count: number;
  last: number; // seq
}

/**
 * Messages that begin to be settled together. The more they are, the more of them share a page of their conversation.
 * All of them are in memory, and at most as many that came after them.
 */
const GENERATION = 16_384;

/** A message counts as one, and as one more for so many characters: what is settled, and is in memory, is bytes. */
const CHARACTERS = 512;

/** How many are settled for each that comes: one generation is done before the next is there. */
const SETTLED_FOR_EACH = 1.25;

const NONE: readonly RecentMessage[] = [];

/** Use on the thread that holds the database, which no other changes. */
export class RecentMessages {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #generation: number;
  /** By conversation, in seq order. */
  readonly #conversations = new Map<string, RecentMessage[]>();
  /** By conversation: how far cursors were past the last message, when the process began. */
  readonly #passed = new Map<string, number>();
  /** By sender, and then by cid. */
  readonly #cids = new Map<number, Map<string, RecentMessage>>();
  /** Those of no generation yet, in the order in which they came. */
  #coming: RecentMessage[] = [];
  #count = 0; // of them, as they count
  #last = 0; // the last one's place
  /** The generation that is being settled, sorted so that the next one is at the end, where it is taken from. */
  #settling: RecentMessage[] = [];
  #through = 0; // the last place in it
  /** What the transaction under way settles of it. */
  #step: Run[] = [];

  /** Finds what an earlier process has left. A `generation` other than the default is for tests. */
  constructor(db: DatabaseSync, generation = GENERATION) {
    this.#sql = prepare(db);
    this.#generation = generation;
    this.#sql.forgetSettled.run(); // of a generation that was begun, and whose end is not known any more
    for (const { n, low, high, seq, sender, cid, body, time } of this.#sql.left.iterate()) {
      this.#put({
        n: n as number,
        key: [low as number, high as number],
        seq: seq as number,
        sender: sender as number,
        cid: textOf(cid),
        body: textOf(body),
        time: time as number,
      });
    }
    for (const { low, high, seq } of this.#sql.passed.iterate()) {
      const key = [low as number, high as number] as const;
      if ((this.of(key).at(-1)?.seq ?? 0) < (seq as number)) this.#passed.set(nameOf(key), seq as number);
    }
  }

  /**
   * A conversation's last seq; undefined if that in its row is the one. A cursor was there once: a seq up to it is not
   * given out again, though an operator has deleted its message.
   */
  lastOf(key: Key): number | undefined {
    const name = nameOf(key);
    const [last, passed] = [this.#conversations.get(name)?.at(-1)?.seq, this.#passed.get(name)];
    return last !== undefined && passed !== undefined ? Math.max(last, passed) : last ?? passed;
  }

  /** A conversation's newest messages in seq order, up to its last one. */
  of(key: Key): readonly RecentMessage[] {
    return this.#conversations.get(nameOf(key)) ?? NONE;
  }

  /** The one that the sender gave this cid. */
  find(sender: number, cid: string): RecentMessage | undefined {
    return this.#cids.get(sender)?.get(cid);
  }

  /**
   * Takes a message, in a transaction: the next of its conversation, with a cid that {@link find} doesn't know. Gives
   * false, and leaves it, if the sender has used the cid for one that is settled.
   */
  add(message: Omit<RecentMessage, "n">): boolean {
    const { key: [low, high], seq, sender, cid, time, body } = message;
    const n = this.#last + 1;
    if (this.#sql.add.run(n, low, high, seq, sender, cid, time, body).changes === 0) return false;
    this.#put({ ...message, n });
    return true;
  }

  /** For {@link undo} and {@link settle}: what came before it. */
  get mark(): number {
    return this.#coming.length;
  }

  /** Forgets those that came after the mark, as what brought them is undone. */
  undo(mark: number): void {
    for (const { n, key, sender, cid, body } of this.#coming.splice(mark).reverse()) {
      this.#last = n - 1;
      this.#count -= countOf(body);
      this.#forget(sender, cid);
      this.#take(key, -1, 1);
    }
    this.#step = [];
  }

  /** Settles some, at the end of a transaction that has brought those after the mark. */
  settle(mark: number): void {
    const came = this.#coming.slice(mark);
    let count = came.reduce((sum, { body }) => sum + countOf(body), 0) * SETTLED_FOR_EACH;
    const places: number[] = [];
    while (count > 0 && places.length < this.#settling.length) {
      const { n, key, seq, body } = this.#settling.at(-1 - places.length)!;
      count -= countOf(body);
      places.push(n);
      const run = this.#step.at(-1);
      if (run?.key[0] === key[0] && run.key[1] === key[1]) {
        run.count++;
        run.last = seq;
      } else this.#step.push({ key, count: 1, last: seq });
    }
    if (places.length === 0) return;
    this.#sql.settle.run(JSON.stringify(places));
    for (const { key, last } of this.#step) this.#sql.setLastSeq.run(last, ...key);
    if (places.length === this.#settling.length) this.#sql.forgetThrough.run(this.#through);
  }

  /** That transaction was committed. */
  committed(): void {
    for (const { key, count } of this.#step) {
      this.#take(key, 0, count);
      for (const { sender, cid } of this.#settling.splice(-count)) this.#forget(sender, cid);
    }
    this.#step = [];
    if (this.#settling.length > 0 || this.#count < this.#generation) return;
    this.#settling = this.#coming.sort((a, b) => b.key[0] - a.key[0] || b.key[1] - a.key[1] || b.seq - a.seq);
    this.#through = this.#last;
    this.#coming = [];
    this.#count = 0;
  }

  #put(message: RecentMessage): void {
    const { n, key, sender, cid, body } = message;
    const name = nameOf(key);
    const others = this.#conversations.get(name);
    if (others) others.push(message);
    else this.#conversations.set(name, [message]);
    const cids = this.#cids.get(sender);
    if (cids) cids.set(cid, message);
    else this.#cids.set(sender, new Map([[cid, message]]));
    this.#coming.push(message);
    this.#count += countOf(body);
    this.#last = n;
  }

  #forget(sender: number, cid: string): void {
    const cids = this.#cids.get(sender)!;
    cids.delete(cid);
    if (cids.size === 0) this.#cids.delete(sender);
  }

  #take(key: Key, from: number, count: number): void {
    const name = nameOf(key);
    const messages = this.#conversations.get(name)!;
    messages.splice(from, count);
    if (messages.length === 0) this.#conversations.delete(name);
  }
}

function countOf(body: string): number {
  return 1 + body.length / CHARACTERS;
}

/** A conversation's key as one string. */
export function nameOf([low, high]: Key): string {
  return `${low} ${high}`;
}

function prepare(db: DatabaseSync) {
  return {
    left: db.prepare(
      `SELECT n, low, high, seq, sender, CAST(cid AS BLOB) AS cid, time, CAST(body AS BLOB) AS body
       FROM RecentMessage ORDER BY n`,
    ),
    forgetSettled: db.prepare(
      `DELETE FROM RecentMessage WHERE seq <=
         (SELECT last_seq FROM Conversation AS c WHERE c.low = RecentMessage.low AND c.high = RecentMessage.high)
       OR EXISTS (SELECT 1 FROM Message AS m
         WHERE m.low = RecentMessage.low AND m.high = RecentMessage.high AND m.seq = RecentMessage.seq)`,
    ),
    passed: db.prepare(
      `SELECT low, high, max(seq) AS seq FROM MemberCursor JOIN Conversation USING (low, high)
       WHERE seq > last_seq GROUP BY low, high`,
    ),
    add: db.prepare(
      `INSERT INTO RecentMessage (n, low, high, seq, sender, cid, time, body)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS (SELECT 1 FROM Message WHERE sender = ?5 AND cid = ?6)`,
    ),
    settle: db.prepare(
      `INSERT INTO Message (low, high, seq, sender, cid, time, body)
       SELECT low, high, seq, sender, cid, time, body FROM json_each(?) CROSS JOIN RecentMessage ON n = value`,
    ),
    setLastSeq: db.prepare(
      `INSERT INTO Conversation (last_seq, low, high) VALUES (?, ?, ?)
       ON CONFLICT (low, high) DO UPDATE SET last_seq = excluded.last_seq`,
    ),
    forgetThrough: db.prepare("DELETE FROM RecentMessage WHERE n <= ?"),
  };
}
