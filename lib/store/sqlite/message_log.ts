/** The message log as it is read: what is settled and what is recent as one. */
import { Buffer } from "node:buffer";
import type { DatabaseSync } from "node:sqlite";
import type { Key } from "../conversation.ts";
import type { StoredMessage } from "../store.ts";
import type { RecentMessages } from "./recent.ts";
import { textOf } from "./text.ts";

/** Use between transactions: it sees what is committed. */
export class MessageLog {
  readonly #recent: RecentMessages;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync, recent: RecentMessages) {
    this.#recent = recent;
    this.#sql = prepare(db);
  }

  /** A conversation's last seq, if that in its row is `settled`. */
  lastOf(key: Key, settled: number): number {
    return this.#recent.of(key).at(-1)?.seq ?? settled;
  }

  /** The time of a message that is there. */
  timeOf(key: Key, seq: number): number {
    const recent = this.#recent.of(key);
    return recent[seq - firstOf(recent)]?.time ?? this.#sql.timeOf.get(...key, seq)!.time as number;
  }

  /** Messages after a seq in their order: up to `limit` while they fit into `maxBytes`, and the first in any case. */
  after(key: Key, seq: number, limit: number, maxBytes: number): StoredMessage[] {
    return fitting(this.#after(key, seq, limit), maxBytes);
  }

  /** The same of those before a seq, the last one first. */
  before(key: Key, seq: number, limit: number, maxBytes: number): StoredMessage[] {
    return fitting(this.#before(key, seq, limit), maxBytes);
  }

  *#after(key: Key, seq: number, limit: number): Iterable<StoredMessage> {
    const recent = this.#recent.of(key);
    const skipped = seq + 1 - firstOf(recent);
    let left = limit;
    if (skipped < 0) {
      for (const row of this.#sql.after.iterate(...key, seq, limit)) {
        yield settled(row);
        left--;
      }
    }
    const from = Math.max(0, skipped);
    yield* this.#named(recent.slice(from, from + left));
  }

  *#before(key: Key, seq: number, limit: number): Iterable<StoredMessage> {
    const recent = this.#recent.of(key);
    const end = Math.max(0, Math.min(recent.length, seq - firstOf(recent)));
    const newest = recent.slice(Math.max(0, end - limit), end).reverse();
    yield* this.#named(newest);
    if (newest.length === limit) return;
    for (const row of this.#sql.before.iterate(...key, seq, limit - newest.length)) yield settled(row);
  }

  *#named(messages: readonly Omit<StoredMessage, "senderName">[]): Iterable<StoredMessage> {
    const names = new Map<number, string>();
    for (const { seq, sender, cid, body, time } of messages) {
      let senderName = names.get(sender);
      if (senderName === undefined) {
        names.set(sender, senderName = this.#sql.userName.get(sender)!.name as string);
      }
      yield { seq, sender, senderName, cid, body, time };
    }
  }
}

/** The seq from which on a conversation's messages are recent. */
function firstOf(recent: readonly { readonly seq: number }[]): number {
  return recent[0]?.seq ?? Infinity;
}

function settled({ seq, sender, senderName, cid, body, time }: Record<string, unknown>): StoredMessage {
  return {
    seq: seq as number,
    sender: sender as number,
    senderName: senderName as string,
    cid: textOf(cid),
    body: textOf(body),
    time: time as number,
  };
}

function fitting(messages: Iterable<StoredMessage>, maxBytes: number): StoredMessage[] {
  const page: StoredMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    bytes += Buffer.byteLength(message.body);
    if (bytes > maxBytes && page.length > 0) break;
    page.push(message);
  }
  return page;
}

const MESSAGES = `
  SELECT seq, sender, User.name AS senderName, CAST(cid AS BLOB) AS cid, CAST(body AS BLOB) AS body, time
  FROM Message JOIN User ON User.id = sender WHERE low = ? AND high = ?`;

function prepare(db: DatabaseSync) {
  return {
    after: db.prepare(`${MESSAGES} AND seq > ? ORDER BY seq LIMIT ?`),
    before: db.prepare(`${MESSAGES} AND seq < ? ORDER BY seq DESC LIMIT ?`),
    timeOf: db.prepare("SELECT time FROM Message WHERE low = ? AND high = ? AND seq = ?"),
    userName: db.prepare("SELECT name FROM User WHERE id = ?"),
  };
}
