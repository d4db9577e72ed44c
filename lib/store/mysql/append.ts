/** How one batch of messages gets into the log: one transaction of two round trips, whatever its size. */
import { type ConversationKey, conversationKey } from "../conversation.ts";
import type { Appended, NewMessage, Rejection } from "../store.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { type ConversationCache, conversationName } from "./conversation_cache.ts";
import { type MysqlConnection, type Row } from "./mysql_connection.ts";
import { inList, sql, type SqlValue, valuesList } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

const [WAIT_FOR_LOCKS, SKIP_LOCKED] = [sql``, sql`SKIP LOCKED`];
/**
 * Milliseconds after a time-out for which the conversations are waited for: they can be locked by the transaction that
 * timed out, which goes on until its end, or until the server sees that its connection is gone.
 */
const OWN_LOCK_WAIT_MS = 8_000;

const LOCKED_ERROR = new DatabaseError("locked", "the conversation is locked by somebody else");

/** What becomes of a message. */
export type AppendResult = Appended | Rejection;

/** What is known of a message's cid: which message it is the id of. */
interface CidEntry {
  readonly conversation: string;
  readonly seq: number;
  readonly time: number;
}

/** A batch of messages, which may take more than one attempt. */
export class AppendBatch {
  readonly #messages: readonly NewMessage[];
  readonly #cache: ConversationCache;
  readonly #fence: Fence;
  readonly #keys: readonly ConversationKey[]; // of the messages' conversations, by their places
  readonly #conversations: ReadonlyMap<string, ConversationKey>;
  /** Whether cids are looked up in the log first. Hardly any is there, so that it is done only after a failure. */
  #checksCids = false;
  /** Whether conversations are passed over that somebody else keeps locked. They are waited for once. */
  #skipsLocked = false;
  /** What was asked to be committed without its being known whether that was done. */
  readonly #uncertain: Map<string, CidEntry>;
  /** Until when conversations that are locked are waited for, in performance.now()'s time. */
  #lockWaitDeadline = 0;

  constructor(
    messages: readonly NewMessage[],
    cache: ConversationCache,
    fence: Fence,
    uncertain = new Map<string, CidEntry>(),
  ) {
    this.#uncertain = uncertain;
    this.#fence = fence;
    this.#messages = messages;
    this.#cache = cache;
    this.#keys = messages.map(({ sender, peer }) => conversationKey(sender, peer));
    this.#checksCids = messages.some(({ mustBeDuplicate }) => mustBeDuplicate);
    this.#conversations = new Map(this.#keys.map((key) => [conversationName(key), key]));
  }

  /** Whether an attempt got no answer in time. */
  get hasTimedOut(): boolean {
    return this.#lockWaitDeadline > 0;
  }

  /** A part of the messages, for further attempts after one that failed. */
  part(from: number, to: number): AppendBatch {
    const part = new AppendBatch(this.#messages.slice(from, to), this.#cache, this.#fence, this.#uncertain);
    part.#checksCids ||= this.#checksCids;
    part.#lockWaitDeadline = this.#lockWaitDeadline;
    return part;
  }

  /**
   * Tries to store the messages, and gives the answers to them in their order when that is committed: an error for those
   * of a conversation that is kept locked, perhaps by a node that is frozen. Rejects with a
   * {@link DatabaseError}; it may then be called again, also where it isn't known whether that was committed.
   */
  async attempt(connection: MysqlConnection): Promise<(AppendResult | DatabaseError)[]> {
    try {
      return await this.#attempt(connection);
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind === "lost" || kind === "silent" || kind === "duplicate") this.#checksCids = true;
      if (kind === "silent") this.#lockWaitDeadline = performance.now() + OWN_LOCK_WAIT_MS;
      if (kind === "locked" && performance.now() >= this.#lockWaitDeadline) this.#skipsLocked = true;
      throw error;
    }
  }

  async #attempt(connection: MysqlConnection): Promise<(AppendResult | DatabaseError)[]> {
    const missing = await this.#cache.ensure(connection, this.#conversations);
    const log = await this.#beginAndLock(connection, missing);
    const seen = new Map<string, CidEntry>();
    const planned = new Map<string, CidEntry>();
    const stored: SqlValue[][] = [];
    const results = this.#messages.map((message, i): AppendResult | DatabaseError => {
      const { sender, peer, cid, body, time } = message;
      const key = this.#keys[i]!;
      const conversation = conversationName(key);
      const last = log.lastSeqs.get(conversation);
      if (last === undefined) return missing.has(conversation) ? { refused: "not_found" } : LOCKED_ERROR;
      if (peer < 0 && !log.members.has(`${-peer} ${sender}`)) return { refused: "forbidden" };
      const id = cidKey(sender, cid);
      const first = seen.get(id) ?? log.cids.get(id);
      if (first) {
        const duplicate = seen.has(id) || !sameEntry(first, this.#uncertain.get(id));
        seen.set(id, first);
        if (first.conversation !== conversation) return { refused: "cid_reused" };
        return { seq: first.seq, time: first.time, duplicate };
      }
      if (message.mustBeDuplicate) return { refused: "over_quota" };
      const storedTime = Math.max(time, log.times.get(conversation) ?? 0); // within a conversation time never decreases
      log.times.set(conversation, storedTime);
      const entry = { conversation, seq: last + 1, time: storedTime };
      seen.set(id, entry);
      planned.set(id, entry);
      log.lastSeqs.set(conversation, entry.seq);
      stored.push([...key, entry.seq, sender, cid, storedTime, body]);
      return { seq: entry.seq, time: storedTime, duplicate: false };
    });
    if (stored.length === 0) return results;
    try {
      await this.#write(connection, stored, log.lastSeqs);
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind === "lost" || kind === "silent") {
        for (const [id, entry] of planned) this.#uncertain.set(id, entry);
      }
      throw error;
    }
    this.#cache.recordCommit(log.lastSeqs);
    return results;
  }

  /**
   * Begins the transaction: locks the conversations, in the order of their keys, so that no two nodes wait for each
   * other; and only then looks up who is a member, and the cids.
   */
  async #beginAndLock(connection: MysqlConnection, missing: ReadonlySet<string>): Promise<LogState> {
    const keys = [...this.#conversations].filter(([name]) => !missing.has(name)).map(([, key]) => key);
    const members = this.#messages.filter(({ peer }) => peer < 0).map(({ sender, peer }) => [-peer, sender]);
    const cids = this.#checksCids ? this.#messages.map(({ sender, cid }) => [sender, cid]) : [];
    const [, locked, timed, joined, found] = await connection.query(
      BEGIN,
      sql`SELECT low, high, last_seq FROM Conversation WHERE ${inList("(low, high)", keys)}
          ORDER BY low, high FOR UPDATE ${this.#skipsLocked ? SKIP_LOCKED : WAIT_FOR_LOCKS}`,
      sql`SELECT low, high, time FROM Conversation JOIN Message USING (low, high)
          WHERE ${inList("(low, high)", keys)} AND Message.seq = last_seq`,
      sql`SELECT groupid, userid FROM GroupUser WHERE ${inList("(groupid, userid)", members)}`,
      sql`SELECT sender, cid, low, high, seq, time FROM Message WHERE ${inList("(sender, cid)", cids)}`,
    );
    const lastSeqs = new Map(locked!.rows.map((row) => [conversationNameOf(row), row.last_seq as number]));
    if (this.#cache.isAhead(lastSeqs)) throw this.#fence.reportDataLoss();
    for (const name of keys.map(conversationName)) {
      if (lastSeqs.has(name) || this.#skipsLocked) continue;
      this.#cache.delete(name);
      throw new DatabaseError("conflict", "a conversation that was there is gone");
    }
    return {
      lastSeqs,
      times: new Map(timed!.rows.map((row) => [conversationNameOf(row), row.time as number])),
      members: new Set(joined!.rows.map(({ groupid, userid }) => `${groupid} ${userid}`)),
      cids: new Map(found!.rows.map((row) => [
        cidKey(row.sender as number, utf8.decode(row.cid as Uint8Array)),
        { conversation: conversationNameOf(row), seq: row.seq as number, time: row.time as number },
      ])),
    };
  }

  async #write(
    connection: MysqlConnection,
    stored: readonly (readonly SqlValue[])[],
    lastSeqs: ReadonlyMap<string, number>,
  ): Promise<void> {
    const conversations = [...lastSeqs].map(([name, last]) => [...this.#conversations.get(name)!, last]);
    await connection.query(
      sql`INSERT INTO Message (low, high, seq, sender, cid, time, body) VALUES ${valuesList(stored)}`,
      sql`INSERT INTO Conversation (low, high, last_seq) VALUES ${valuesList(conversations)}
          ON DUPLICATE KEY UPDATE last_seq = VALUES(last_seq)`,
      COMMIT,
    );
  }
}

/** What the log and the groups say at the beginning of an attempt. */
interface LogState {
  /** By the conversations' names. */
  readonly lastSeqs: Map<string, number>;
  /** Of the conversations' last messages, by the same. */
  readonly times: Map<string, number>;
  /** `group user` of those of the senders that are in the groups. */
  readonly members: ReadonlySet<string>;
  readonly cids: ReadonlyMap<string, CidEntry>;
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

function cidKey(sender: number, cid: string): string {
  return `${sender} ${cid}`;
}

function conversationNameOf({ low, high }: Row): string {
  return conversationName([low as number, high as number]);
}

function sameEntry(a: CidEntry, b: CidEntry | undefined): boolean {
  return a.conversation === b?.conversation && a.seq === b.seq && a.time === b.time;
}
