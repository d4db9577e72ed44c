/** Reads the message log: compacted messages from the table `Message`, the others from the memtable. */
import { Buffer } from "node:buffer";
import type { DatabaseSync } from "node:sqlite";
import type { ConversationKey } from "../conversation.ts";
import type { StoredMessage } from "../store.ts";
import type { Memtable } from "./memtable.ts";
import { textOf } from "../text.ts";

/** The readable message log. Use it between transactions, so that it shows committed messages only. */
export class MessageLog {
  readonly #memtable: Memtable;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync, memtable: Memtable) {
    this.#memtable = memtable;
    this.#sql = prepare(db);
  }

  /** Returns a conversation's last seq. `storedLastSeq` is `last_seq` in the conversation's row. */
  lastSeq(key: ConversationKey, storedLastSeq: number): number {
    return this.#memtable.lastSeq(key) ?? storedLastSeq;
  }

  /**
   * Returns the time of the first message after a seq, if there is one. Operators may have deleted messages.
   */
  timeAfter(key: ConversationKey, seq: number): number | undefined {
    const recent = this.#memtable.messages(key);
    const at = firstAfter(recent, seq);
    if (at === 0 && recent[0]?.seq !== seq + 1) {
      const row = this.#sql.timeAfter.get(...key, seq);
      if (row) return row.time as number;
    }
    return recent[at]?.time;
  }

  /**
   * Returns messages after a seq in seq order: at most `limit`, and `maxBytes` of bodies, but at least one.
   */
  after(key: ConversationKey, seq: number, limit: number, maxBytes: number): StoredMessage[] {
    return limitBytes(this.#after(key, seq, limit), maxBytes);
  }

  /** Returns messages before a seq in reverse order, with the limits of {@link after}. */
  before(key: ConversationKey, seq: number, limit: number, maxBytes: number): StoredMessage[] {
    return limitBytes(this.#before(key, seq, limit), maxBytes);
  }

  *#after(key: ConversationKey, seq: number, limit: number): Iterable<StoredMessage> {
    const recent = this.#memtable.messages(key);
    const from = firstAfter(recent, seq);
    let left = limit;
    if (from === 0 && recent[0]?.seq !== seq + 1) {
      for (const row of this.#sql.after.iterate(...key, seq, limit)) {
        yield messageOf(row);
        left--;
      }
    }
    yield* this.#named(recent.slice(from, from + left));
  }

  *#before(key: ConversationKey, seq: number, limit: number): Iterable<StoredMessage> {
    const recent = this.#memtable.messages(key);
    const end = firstAfter(recent, seq - 1);
    const newest = recent.slice(Math.max(0, end - limit), end).reverse();
    yield* this.#named(newest);
    if (newest.length === limit) return;
    for (const row of this.#sql.before.iterate(...key, seq, limit - newest.length)) yield messageOf(row);
  }

  *#named(messages: readonly Omit<StoredMessage, "senderName">[]): Iterable<StoredMessage> {
    const names = new Map<number, string>();
    for (const { seq, sender, cid, body, time } of messages) {
      let senderName = names.get(sender);
      if (senderName === undefined) {
        names.set(sender, senderName = (this.#sql.userName.get(sender)?.name ?? "") as string);
      }
      yield { seq, sender, senderName, cid, body, time };
    }
  }
}

/** Returns the index of the first message after a seq, or the number of messages if there is none. */
function firstAfter(messages: readonly { readonly seq: number }[], seq: number): number {
  let [low, high] = [0, messages.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (messages[middle]!.seq <= seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

function messageOf({ seq, sender, senderName, cid, body, time }: Record<string, unknown>): StoredMessage {
  return {
    seq: seq as number,
    sender: sender as number,
    senderName: senderName as string,
    cid: textOf(cid),
    body: textOf(body),
    time: time as number,
  };
}

function limitBytes(messages: Iterable<StoredMessage>, maxBytes: number): StoredMessage[] {
  const page: StoredMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    bytes += Buffer.byteLength(message.body);
    if (bytes > maxBytes && page.length > 0) break;
    page.push(message);
  }
  return page;
}

/** Messages of deleted accounts are included: their senderName is empty. */
const MESSAGES = `
  SELECT seq, sender, coalesce(User.name, '') AS senderName, CAST(cid AS BLOB) AS cid, CAST(body AS BLOB) AS body, time
  FROM Message LEFT JOIN User ON User.id = sender WHERE low = ? AND high = ?`;

function prepare(db: DatabaseSync) {
  return {
    after: db.prepare(`${MESSAGES} AND seq > ? ORDER BY seq LIMIT ?`),
    before: db.prepare(`${MESSAGES} AND seq < ? ORDER BY seq DESC LIMIT ?`),
    timeAfter: db.prepare(
      "SELECT time FROM Message WHERE low = ? AND high = ? AND seq > ? ORDER BY seq LIMIT 1",
    ),
    userName: db.prepare("SELECT name FROM User WHERE id = ?"),
  };
}
