/**
 * The memtable: the newest messages, in memory and in the table `RecentMessage`. The table is in arrival
 * order, so that a commit writes one page for many messages instead of several pages for each. Compaction
 * moves a generation of messages, sorted by conversation, to the table `Message`. The structure is that of a
 * log-structured merge-tree (LSM) with one level.
 */
import type { DatabaseSync } from "node:sqlite";
import { type ConversationKey, conversationName } from "../conversation.ts";
import type { StoredMessage } from "../store.ts";
import { textOf } from "../text.ts";

/** A message that is not compacted yet. */
export interface RecentMessage extends Omit<StoredMessage, "senderName"> {
  /** The position in arrival order: the key in `RecentMessage`. */
  readonly n: number;
  readonly key: ConversationKey;
}

/** The messages of one conversation that a transaction compacts. */
interface Run {
  readonly key: ConversationKey;
  count: number;
  lastSeq: number;
}

/**
 * Weight of the messages that are compacted together. In a larger generation more messages of a conversation
 * share a page. Memory holds at most two generations: the one in compaction, and the incoming one.
 */
const GENERATION_SIZE = 16_384;

/** UTF-16 units of a body that add 1 to its message's weight of 1: large messages fill more pages. */
const CHARACTERS_PER_WEIGHT = 512;

/** Weight to compact per weight that arrives. Above 1, a generation is compacted before the next is full. */
const COMPACTION_RATIO = 1.25;

/**
 * Number of parts in which a generation is compacted. A part dirties about 10 pages besides those that it
 * fills: with a part in each commit, commits of 20 messages wrote twice as many pages (measured).
 */
const COMPACTION_PARTS = 64;

const NO_MESSAGES: readonly RecentMessage[] = [];

/** The memtable of a database that nothing else writes to. Use it on the database thread. */
export class Memtable {
  readonly #sql: ReturnType<typeof prepare>;
  readonly #generationSize: number;
  /** All messages by conversation, in seq order. */
  readonly #conversations = new Map<string, RecentMessage[]>();
  /** The highest cursor of each conversation whose cursors were past its last message at the start. */
  readonly #cursorSeqs = new Map<string, number>();
  /** All messages by sender, and then by cid. */
  readonly #cids = new Map<number, Map<string, RecentMessage>>();
  /** The generation that is filling, in arrival order. */
  #incoming: RecentMessage[] = [];
  #incomingWeight = 0;
  #lastPosition = 0; // `n` of the last message
  /** The generation in compaction, in reverse order of key and seq: the next message is at the end. */
  #compacting: RecentMessage[] = [];
  #compactingThrough = 0; // the highest `n` in it
  #compactedWeight = 0; // of the messages of that generation that are compacted
  /** The runs that the current transaction compacts, and their weight. */
  #pendingRuns: Run[] = [];
  #pendingWeight = 0;

  /** Loads the messages that an earlier process left in `RecentMessage`. Tests set `generationSize`. */
  constructor(db: DatabaseSync, generationSize = GENERATION_SIZE) {
    this.#sql = prepare(db);
    this.#generationSize = generationSize;
    this.#sql.deleteCompacted.run(); // rows of a generation whose compaction a stop interrupted
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
   * Returns a conversation's last seq; undefined if `last_seq` in its row is current. No seq up to a cursor
   * is assigned again, even if an operator deleted the message.
   */
  lastSeq(key: ConversationKey): number | undefined {
    const name = conversationName(key);
    const [last, cursor] = [this.#conversations.get(name)?.at(-1)?.seq, this.#cursorSeqs.get(name)];
    return last !== undefined && cursor !== undefined ? Math.max(last, cursor) : last ?? cursor;
  }

  /** Returns a conversation's uncompacted messages in seq order. They end with its last message. */
  messages(key: ConversationKey): readonly RecentMessage[] {
    return this.#conversations.get(conversationName(key)) ?? NO_MESSAGES;
  }

  /** Returns the sender's message with this cid, if it is not compacted. */
  find(sender: number, cid: string): RecentMessage | undefined {
    return this.#cids.get(sender)?.get(cid);
  }

  /** Inserts the next message of a conversation, in a transaction. No message of the sender may have its cid. */
  add(message: Omit<RecentMessage, "n">): void {
    const { key: [low, high], seq, sender, cid, time, body } = message;
    const n = this.#lastPosition + 1;
    this.#sql.add.get(n, low, high, seq, sender, cid, time, body); // `run` takes half as long again for its result
    this.#insert({ ...message, n });
  }

  /** Returns the current position, for {@link rollback}. */
  get mark(): number {
    return this.#incoming.length;
  }

  /** Removes the messages that were added after the mark: their transaction was rolled back. */
  rollback(mark: number): void {
    for (const { n, key, sender, cid, body } of this.#incoming.splice(mark).reverse()) {
      this.#lastPosition = n - 1;
      this.#incomingWeight -= weightOf(body);
      this.#deleteCid(sender, cid);
      this.#deleteMessages(key, -1, 1);
    }
    this.#pendingRuns = [];
    this.#pendingWeight = 0;
  }

  /**
   * Compacts the next part of the generation, at the end of a transaction, if enough messages have arrived for
   * it; see {@link COMPACTION_RATIO} and {@link COMPACTION_PARTS}.
   */
  compact(): void {
    const due = this.#incomingWeight * COMPACTION_RATIO - this.#compactedWeight;
    if (due < this.#generationSize / COMPACTION_PARTS) return;
    const positions: number[] = [];
    let weight = 0;
    while (weight < due && positions.length < this.#compacting.length) {
      const { n, key, seq, body } = this.#compacting.at(-1 - positions.length)!;
      weight += weightOf(body);
      positions.push(n);
      const run = this.#pendingRuns.at(-1);
      if (run?.key[0] === key[0] && run.key[1] === key[1]) {
        run.count++;
        run.lastSeq = seq;
      } else this.#pendingRuns.push({ key, count: 1, lastSeq: seq });
    }
    if (positions.length === 0) return;
    this.#pendingWeight = weight;
    this.#sql.compact.run(JSON.stringify(positions));
    for (const { key, lastSeq } of this.#pendingRuns) this.#sql.setLastSeq.run(lastSeq, ...key);
    if (positions.length === this.#compacting.length) this.#sql.deleteThrough.run(this.#compactingThrough);
  }

  /** Drops the messages that the last commit compacted, and starts compacting the next full generation. */
  onCommit(): void {
    for (const { key, count } of this.#pendingRuns) {
      this.#deleteMessages(key, 0, count);
      for (const { sender, cid } of this.#compacting.splice(-count)) this.#deleteCid(sender, cid);
    }
    this.#pendingRuns = [];
    this.#compactedWeight += this.#pendingWeight;
    this.#pendingWeight = 0;
    if (this.#compacting.length > 0 || this.#incomingWeight < this.#generationSize) return;
    this.#compacting = this.#incoming.sort((a, b) =>
      b.key[0] - a.key[0] || b.key[1] - a.key[1] || b.seq - a.seq
    );
    this.#compactingThrough = this.#lastPosition;
    this.#incoming = [];
    this.#incomingWeight = 0;
    this.#compactedWeight = 0;
  }

  #insert(message: RecentMessage): void {
    const { n, key, sender, cid, body } = message;
    const name = conversationName(key);
    const messages = this.#conversations.get(name);
    if (messages) messages.push(message);
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
      "INSERT INTO RecentMessage (n, low, high, seq, sender, cid, time, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
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
