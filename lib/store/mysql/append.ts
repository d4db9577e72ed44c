/**
 * Appends one batch of messages to the log, of any size, in one transaction. It takes two round trips, or one
 * if the batch is of one conversation whose last message this node knows.
 */
import { type ConversationKey, conversationKey, conversationName } from "../conversation.ts";
import type { Appended, NewMessage, Rejection } from "../store.ts";
import { textOf } from "../text.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import type { ConversationCache, Tail } from "./conversation_cache.ts";
import type { MysqlConnection, Row } from "./mysql_connection.ts";
import { inList, type Sql, sql, type SqlValue, valuesList } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

const [WAIT_FOR_LOCKS, SKIP_LOCKED] = [sql``, sql`SKIP LOCKED`];
/**
 * Milliseconds after a timeout during which attempts wait for locked conversations. The lock may belong to
 * the transaction that timed out. It lasts until that transaction ends, or until the server notices the
 * closed connection.
 */
const OWN_LOCK_WAIT_MS = 8_000;

const LOCKED_ERROR = new DatabaseError("locked", "another transaction holds the lock of the conversation");

/** The result for a message. */
export type AppendResult = Appended | Rejection;

/** The message that a client message id (cid) belongs to. */
interface CidEntry {
  readonly conversation: string;
  readonly seq: number;
  readonly time: number;
}

/** A batch of messages, which may need several attempts. */
export class AppendBatch {
  readonly #messages: readonly NewMessage[];
  readonly #cache: ConversationCache;
  readonly #fence: Fence;
  readonly #keys: readonly ConversationKey[]; // of the messages' conversations, in the order of messages
  readonly #conversations: ReadonlyMap<string, ConversationKey>;
  /** Whether to look up cids in the log first. Duplicates are rare, so that only a retry looks them up. */
  #checksCids = false;
  /** Whether to skip conversations that are still locked after one wait. */
  #skipsLocked = false;
  /** The messages of commits whose outcome is unknown. */
  readonly #uncertain: Map<string, CidEntry>;
  /** The end of the wait for locked conversations, on the clock of performance.now(). */
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

  /** Whether an attempt has timed out. */
  get hasTimedOut(): boolean {
    return this.#lockWaitDeadline > 0;
  }

  /** Returns a part of the batch, for further attempts after a failed one. */
  part(from: number, to: number): AppendBatch {
    const part = new AppendBatch(this.#messages.slice(from, to), this.#cache, this.#fence, this.#uncertain);
    part.#checksCids ||= this.#checksCids;
    part.#lockWaitDeadline = this.#lockWaitDeadline;
    return part;
  }

  /**
   * Attempts to store the messages. Resolves to the results in the order of messages, after the commit. A
   * message of a conversation that stays locked, perhaps by a frozen node, gets an error. Rejects with a
   * {@link DatabaseError}. A further attempt is safe then, also if the outcome of the commit is unknown.
   */
  async attempt(connection: MysqlConnection): Promise<(AppendResult | DatabaseError)[]> {
    try {
      return await this.#attempt(connection);
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind === "connection_lost" || kind === "timeout" || kind === "duplicate") this.#checksCids = true;
      if (kind === "timeout") this.#lockWaitDeadline = performance.now() + OWN_LOCK_WAIT_MS;
      if (kind === "locked" && performance.now() >= this.#lockWaitDeadline) this.#skipsLocked = true;
      throw error;
    }
  }

  async #attempt(connection: MysqlConnection): Promise<(AppendResult | DatabaseError)[]> {
    const predicted = this.#predict();
    if (predicted) {
      try {
        return await this.#append(connection, predicted, new Set(), true);
      } catch (error) {
        // The prediction was wrong, or has no literal, or the database refuses a message.
        if (error instanceof DatabaseError && error.kind !== "invalid") throw error;
        await connection.rollback();
      }
    }
    const missing = await this.#cache.ensure(connection, this.#conversations);
    return await this.#append(connection, await this.#beginAndLock(connection, missing), missing, false);
  }

  /**
   * Returns the state of the log as this node knows it, if all messages are of one conversation of two users.
   * In a group, a membership must be read under the lock of the conversation.
   */
  #predict(): LogState | undefined {
    const [[name, [low]]] = this.#conversations as unknown as [[string, ConversationKey]];
    if (this.#conversations.size > 1 || low === 0 || this.#checksCids || this.#skipsLocked) return undefined;
    const tail = this.#cache.predictTail(name);
    return tail && { tails: new Map([[name, tail]]), members: new Set(), cids: new Map() };
  }

  /** Stores the messages after those of `log`, which is locked, or predicted and to be checked. */
  async #append(
    connection: MysqlConnection,
    log: LogState,
    missing: ReadonlySet<string>,
    isPredicted: boolean,
  ): Promise<(AppendResult | DatabaseError)[]> {
    const tails = new Map(log.tails);
    const seen = new Map<string, CidEntry>();
    const planned = new Map<string, CidEntry>();
    const stored: (SqlValue | Sql)[][] = [];
    const results = this.#messages.map((message, i): AppendResult | DatabaseError => {
      const { sender, peer, cid, body, time } = message;
      const key = this.#keys[i]!;
      const conversation = conversationName(key);
      const last = tails.get(conversation);
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
      // Times never decrease within a conversation.
      const entry = { conversation, seq: last.seq + 1, time: Math.max(time, last.time) };
      seen.set(id, entry);
      planned.set(id, entry);
      tails.set(conversation, entry);
      const isFirst = isPredicted && stored.length === 0;
      const checked = isFirst ? sql`IF(ROW_COUNT() = 1, ${sender}, NULL)` : sender;
      stored.push([...key, entry.seq, checked, cid, entry.time, body]);
      return { seq: entry.seq, time: entry.time, duplicate: false };
    });
    if (stored.length === 0) return results;
    try {
      await this.#write(connection, stored, log.tails, tails, isPredicted);
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind === "connection_lost" || kind === "timeout") {
        for (const [id, entry] of planned) this.#uncertain.set(id, entry);
      }
      throw error;
    }
    this.#cache.recordCommit(log.tails, tails);
    return results;
  }

  /**
   * Begins the transaction. Locks the conversations in the order of their keys, which excludes deadlocks
   * between nodes. Only then reads memberships and cids.
   */
  async #beginAndLock(connection: MysqlConnection, missing: ReadonlySet<string>): Promise<LogState> {
    const keys = [...this.#conversations].filter(([name]) => !missing.has(name)).map(([, key]) => key);
    const members = this.#messages.filter(({ peer }) => peer < 0).map(({ sender, peer }) => [-peer, sender]);
    const cids = this.#checksCids ? this.#messages.map(({ sender, cid }) => [sender, cid]) : [];
    const [, locked, timed, ...lookups] = await connection.query(
      BEGIN,
      sql`SELECT low, high, last_seq FROM Conversation WHERE ${inList("(low, high)", keys)}
          ORDER BY low, high FOR UPDATE ${this.#skipsLocked ? SKIP_LOCKED : WAIT_FOR_LOCKS}`,
      sql`SELECT low, high, time FROM Conversation JOIN Message USING (low, high)
          WHERE ${inList("(low, high)", keys)} AND Message.seq = last_seq`,
      ...members.length > 0
        ? [sql`SELECT groupid, userid FROM GroupUser WHERE ${inList("(groupid, userid)", members)}`]
        : [],
      ...cids.length > 0
        ? [sql`SELECT sender, cid, low, high, seq, time FROM Message WHERE ${inList("(sender, cid)", cids)}`]
        : [],
    );
    const joined = members.length > 0 ? lookups.shift() : undefined;
    const found = lookups[0];
    const times = new Map(timed!.rows.map((row) => [conversationNameOf(row), row.time as number]));
    const tails = new Map(locked!.rows.map((row) => {
      const name = conversationNameOf(row);
      return [name, { seq: row.last_seq as number, time: times.get(name) ?? 0 }];
    }));
    if (this.#cache.isAhead(tails)) throw this.#fence.reportDataLoss();
    for (const name of keys.map(conversationName)) {
      if (tails.has(name) || this.#skipsLocked) continue;
      this.#cache.delete(name);
      throw new DatabaseError("conflict", "a conversation no longer exists");
    }
    return {
      tails,
      members: new Set(joined?.rows.map(({ groupid, userid }) => `${groupid} ${userid}`)),
      cids: new Map(
        found?.rows.map((row) => [
          cidKey(row.sender as number, textOf(row.cid)),
          { conversation: conversationNameOf(row), seq: row.seq as number, time: row.time as number },
        ]),
      ),
    };
  }

  /**
   * Writes the messages and the conversations' last seqs, and commits. A prediction is checked by an UPDATE
   * that finds its row only if the prediction is right, and by the first message's row, which is invalid if
   * the UPDATE has found none.
   */
  async #write(
    connection: MysqlConnection,
    messages: readonly (readonly (SqlValue | Sql)[])[],
    before: ReadonlyMap<string, Tail>,
    after: ReadonlyMap<string, Tail>,
    isPredicted: boolean,
  ): Promise<void> {
    const lastSeqs = [...after].map(([name, { seq }]) => [...this.#conversations.get(name)!, seq] as const);
    const [[low, high, lastSeq]] = lastSeqs as [(typeof lastSeqs)[number]];
    const [predicted] = before.values();
    await connection.query(
      ...isPredicted
        ? [
          BEGIN,
          this.#fence.checkIn(
            sql`UPDATE Conversation SET last_seq = ${lastSeq}
                WHERE low = ${low} AND high = ${high} AND last_seq = ${predicted!.seq}`,
          ),
        ]
        : [
          sql`INSERT INTO Conversation (low, high, last_seq) VALUES ${valuesList(lastSeqs)}
              ON DUPLICATE KEY UPDATE last_seq = VALUES(last_seq)`,
        ],
      sql`INSERT INTO Message (low, high, seq, sender, cid, time, body) VALUES ${valuesList(messages)}`,
      COMMIT,
    );
  }
}

/** The state of log and groups at the beginning of an attempt. */
interface LogState {
  /** The last messages, by the names of conversations. */
  readonly tails: ReadonlyMap<string, Tail>;
  /** `group user` for each sender that is a member. */
  readonly members: ReadonlySet<string>;
  readonly cids: ReadonlyMap<string, CidEntry>;
}

function cidKey(sender: number, cid: string): string {
  return `${sender} ${cid}`;
}

function conversationNameOf({ low, high }: Row): string {
  return conversationName([low as number, high as number]);
}

function sameEntry(a: CidEntry, b: CidEntry | undefined): boolean {
  return a.conversation === b?.conversation && a.seq === b.seq && a.time === b.time;
}
