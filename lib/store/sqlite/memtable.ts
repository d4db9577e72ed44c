/**
 * The newest messages. They lie in the order in which they came, so that a commit writes one page for many of them and
 * not several for each. From there they are settled: moved, many at a time and sorted, to where each conversation's
 * lie together. Until then they are found in memory.
 */
import type { DatabaseSync } from "node:sqlite";
import type { ConversationKey } from "../conversation.ts";
import type { StoredMessage } from "../store.ts";
import { textOf } from "./text.ts";

/** A message that is not settled. */
export interface RecentMessage extends Omit<StoredMessage, "senderName"> {
  /** Its place in the order in which they came. */
  readonly n: number;
  readonly key: ConversationKey;
}

/** Of one conversation, those that a transaction settles. */
interface Run {
  readonly key: ConversationKey;
  count: number;
  last: number; // seq
}

/**
 * Messages that begin to be settled together. The more they are, the more of them share a page of their conversation.
 * All of them are in memory, and at most as many that came after them.
 */
const GENERATION_SIZE = 16_384;

/** A message counts as one, and as one more for so many characters: what is settled, and is in memory, is bytes. */
const CHARACTERS_PER_WEIGHT = 512;

/** How many are settled for each that comes: one generation is done before the next is there. */
const COMPACTION_RATIO = 1.25;

const NO_MESSAGES: readonly RecentMessage[] = [];

/** Use on the thread that holds the database, which no other changes. */
export class Memtable {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #generationSize: number;
  /** By conversation, in seq order. */
  readonly #conversations = new Map<string, RecentMessage[]>();
  /** By conversation: how far cursors were past the last message, when the process began. */
  readonly #cursorSeqs = new Map<string, number>();
  /** By sender, and then by cid. */
  readonly #cids = new Map<number, Map<string, RecentMessage>>();
  /** Those of no generation yet, in the order in which they came. */
  #incoming: RecentMessage[] = [];
  #incomingWeight = 0; // of them, as they count
  #lastPosition = 0; // the last one's place
  /** The generation that is being settled, sorted so that the next one is at the end, where it is taken from. */
  #compacting: RecentMessage[] = [];
  #compactingThrough = 0; // the last place in it
  /** What the transaction under way settles of it. */
  #pendingRuns: Run[] = [];

  /** Finds what an earlier process has left. A `generation` other than the default is for tests. */
  constructor(db: DatabaseSync, generationSize = GENERATION_SIZE) {
    this.#sql = prepare(db);
    this.#generationSize = generationSize;
    this.#sql.deleteCompacted.run(); // of a generation that was begun, and whose end is not known any more
    for (const { n, low, high, seq, sender, cid, body, time } of this.#sql.leftover.iterate()) {
      this.#insert({
        n: n as number,
        key: [low as number, high as number],
        seq: seq as number,
        sender: sender as number,
        cid: textOf(cid),
        body: textOf(body),
        time: time as number,
      });
    }
    for (const { low, high, seq } of this.#sql.cursorsPastLast.iterate()) {
      const key = [low as number, high as number] as const;
      if ((this.messages(key).at(-1)?.seq ?? 0) < (seq as number)) {
        this.#cursorSeqs.set(conversationName(key), seq as number);
      }
    }
  }

  /**
   * A conversation's last seq; undefined if that in its row is the one. A cursor was there once: a seq up to it is not
   * given out again, though an operator has deleted its message.
   */
  lastSeq(key: ConversationKey): number | undefined {
    const name = conversationName(key);
    const [last, cursorSeq] = [this.#conversations.get(name)?.at(-1)?.seq, this.#cursorSeqs.get(name)];
    return last !== undefined && cursorSeq !== undefined ? Math.max(last, cursorSeq) : last ?? cursorSeq;
  }

  /** A conversation's newest messages in seq order, up to its last one. */
  messages(key: ConversationKey): readonly RecentMessage[] {
    return this.#conversations.get(conversationName(key)) ?? NO_MESSAGES;
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
    const n = this.#lastPosition + 1;
    if (this.#sql.add.run(n, low, high, seq, sender, cid, time, body).changes === 0) return false;
    this.#insert({ ...message, n });
    return true;
  }

  /** For {@link rollback} and {@link compact}: what came before it. */
  get mark(): number {
    return this.#incoming.length;
  }

  /** Forgets those that came after the mark, as what brought them is undone. */
  rollback(mark: number): void {
    for (const { n, key, sender, cid, body } of this.#incoming.splice(mark).reverse()) {
      this.#lastPosition = n - 1;
      this.#incomingWeight -= weightOf(body);
      this.#deleteCid(sender, cid);
      this.#deleteMessages(key, -1, 1);
    }
    this.#pendingRuns = [];
  }

  /** Settles some, at the end of a transaction that has brought those after the mark. */
  compact(mark: number): void {
    const incoming = this.#incoming.slice(mark);
    let weight = incoming.reduce((sum, { body }) => sum + weightOf(body), 0) * COMPACTION_RATIO;
    const positions: number[] = [];
    while (weight > 0 && positions.length < this.#compacting.length) {
      const { n, key, seq, body } = this.#compacting.at(-1 - positions.length)!;
      weight -= weightOf(body);
      positions.push(n);
      const run = this.#pendingRuns.at(-1);
      if (run?.key[0] === key[0] && run.key[1] === key[1]) {
        run.count++;
        run.last = seq;
      } else this.#pendingRuns.push({ key, count: 1, last: seq });
    }
    if (positions.length === 0) return;
    this.#sql.compact.run(JSON.stringify(positions));
    for (const { key, last } of this.#pendingRuns) this.#sql.setLastSeq.run(last, ...key);
    if (positions.length === this.#compacting.length) this.#sql.deleteThrough.run(this.#compactingThrough);
  }

  /** That transaction was committed. */
  onCommit(): void {
    for (const { key, count } of this.#pendingRuns) {
      this.#deleteMessages(key, 0, count);
      for (const { sender, cid } of this.#compacting.splice(-count)) this.#deleteCid(sender, cid);
    }
    this.#pendingRuns = [];
    if (this.#compacting.length > 0 || this.#incomingWeight < this.#generationSize) return;
    this.#compacting = this.#incoming.sort((a, b) =>
      b.key[0] - a.key[0] || b.key[1] - a.key[1] || b.seq - a.seq
    );
    this.#compactingThrough = this.#lastPosition;
    this.#incoming = [];
    this.#incomingWeight = 0;
  }

  #insert(message: RecentMessage): void {
    const { n, key, sender, cid, body } = message;
    const name = conversationName(key);
    const others = this.#conversations.get(name);
    if (others) others.push(message);
    else this.#conversations.set(name, [message]);
    const cids = this.#cids.get(sender);
    if (cids) cids.set(cid, message);
    else this.#cids.set(sender, new Map([[cid, message]]));
    this.#incoming.push(message);
    this.#incomingWeight += weightOf(body);
    this.#lastPosition = n;
  }

  #deleteCid(sender: number, cid: string): void {
    const cids = this.#cids.get(sender)!;
    cids.delete(cid);
    if (cids.size === 0) this.#cids.delete(sender);
  }

  #deleteMessages(key: ConversationKey, from: number, count: number): void {
    const name = conversationName(key);
    const messages = this.#conversations.get(name)!;
    messages.splice(from, count);
    if (messages.length === 0) this.#conversations.delete(name);
  }
}

function weightOf(body: string): number {
  return 1 + body.length / CHARACTERS_PER_WEIGHT;
}

/** A conversation's key as one string. */
export function conversationName([low, high]: ConversationKey): string {
  return `${low} ${high}`;
}

function prepare(db: DatabaseSync) {
  return {
    leftover: db.prepare(
      `SELECT n, low, high, seq, sender, CAST(cid AS BLOB) AS cid, time, CAST(body AS BLOB) AS body
       FROM RecentMessage ORDER BY n`,
    ),
    deleteCompacted: db.prepare(
      `DELETE FROM RecentMessage WHERE seq <=
         (SELECT last_seq FROM Conversation AS c WHERE c.low = RecentMessage.low AND c.high = RecentMessage.high)
       OR EXISTS (SELECT 1 FROM Message AS m
         WHERE m.low = RecentMessage.low AND m.high = RecentMessage.high AND m.seq = RecentMessage.seq)`,
    ),
    cursorsPastLast: db.prepare(
      `SELECT low, high, max(seq) AS seq FROM MemberCursor JOIN Conversation USING (low, high)
       WHERE seq > last_seq GROUP BY low, high`,
    ),
    add: db.prepare(
      `INSERT INTO RecentMessage (n, low, high, seq, sender, cid, time, body)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS (SELECT 1 FROM Message WHERE sender = ?5 AND cid = ?6)`,
    ),
    compact: db.prepare(
      `INSERT INTO Message (low, high, seq, sender, cid, time, body)
       SELECT low, high, seq, sender, cid, time, body FROM json_each(?) CROSS JOIN RecentMessage ON n = value`,
    ),
    setLastSeq: db.prepare(
      `INSERT INTO Conversation (last_seq, low, high) VALUES (?, ?, ?)
       ON CONFLICT (low, high) DO UPDATE SET last_seq = excluded.last_seq`,
    ),
    deleteThrough: db.prepare("DELETE FROM RecentMessage WHERE n <= ?"),
  };
}
