/** The conversations that exist in the database. Creates missing ones, and caches the others. */
import { BoundedMap } from "../../bounded_map.ts";
import { type ConversationKey, conversationName } from "../conversation.ts";
import type { MysqlConnection, Row } from "./mysql_connection.ts";
import { inList, sql, valuesList } from "./sql.ts";
import { BEGIN, COMMIT } from "./transaction.ts";

/**
 * Conversations in the cache, about 15 MB of them. A conversation outside of the cache costs one more round
 * trip.
 */
const MAX_CACHED_CONVERSATIONS = 100_000;

/**
 * Compares two keys in the order of the database's indexes. Locks are taken in this order, which excludes
 * deadlocks.
 */
export function compareKeys(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((value, i) => value !== b[i]);
  return differs < 0 ? 0 : a[differs]! - b[differs]!;
}

/** The last message of a conversation. */
export interface Tail {
  readonly seq: number;
  readonly time: number;
}

/** The last message of a conversation, as far as this node knows. */
interface KnownTail extends Tail {
  /** The seq of the last message that this node has committed, or 0. */
  readonly committedSeq: number;
  /** Whether the last commit of this node has found a message that the node did not know. */
  readonly isStale: boolean;
}

const UNKNOWN_TAIL: KnownTail = { seq: 0, time: 0, committedSeq: 0, isStale: true };

/**
 * A cache of conversations that exist in the database. So do their users or groups, which are never deleted.
 */
export class ConversationCache {
  readonly #tails: BoundedMap<string, KnownTail>;

  /** The cache retains the `max` conversations that were added or written to last. */
  constructor(max = MAX_CACHED_CONVERSATIONS) {
    this.#tails = new BoundedMap(max);
  }

  /** Returns whether one of these conversations is shorter than this node's last commit in it. */
  isAhead(tails: ReadonlyMap<string, Tail>): boolean {
    return [...tails].some(([name, { seq }]) => seq < (this.#tails.get(name)?.committedSeq ?? 0));
  }

  /**
   * Returns the last message of a conversation, if this node has known it at its last commit there. Another
   * node may write at any time, so the transaction must check it.
   */
  predictTail(name: string): Tail | undefined {
    const known = this.#tails.get(name);
    return known?.isStale ? undefined : known;
  }

  /** Records a message that another node has committed, as far as a hint says. */
  noteTail(name: string, { seq, time }: Tail): void {
    const known = this.#tails.get(name);
    if (known && seq > known.seq) this.#tails.set(name, { ...known, seq, time });
  }

  /** Records a commit of this node: the conversations' last messages before it and after it. */
  recordCommit(before: ReadonlyMap<string, Tail>, after: ReadonlyMap<string, Tail>): void {
    for (const [name, { seq, time }] of after) {
      const known = this.#tails.get(name);
      if (!known) continue;
      const isStale = known.seq > 0 && known.seq !== before.get(name)?.seq;
      this.#tails.set(name, { seq, time, committedSeq: seq, isStale });
    }
  }

  /** Empties the cache: another history of the database begins. */
  clear(): void {
    this.#tails.clear();
  }

  /**
   * Creates missing conversations, outside of any transaction. Returns the names of those that cannot exist,
   * because a user or the group does not exist.
   */
  async ensure(
    connection: MysqlConnection,
    keys: ReadonlyMap<string, ConversationKey>,
  ): Promise<ReadonlySet<string>> {
    const unknown = new Map([...keys].filter(([name]) => !this.#tails.has(name)));
    if (unknown.size === 0) return new Set();
    const wanted = [...unknown.values()];
    const [conversations, users, groups] = await connection.query(
      sql`SELECT low, high FROM Conversation WHERE ${inList("(low, high)", wanted)}`,
      sql`SELECT id FROM User WHERE ${
        inList("id", wanted.flatMap(([low, high]) => low > 0 ? [low, high] : []))
      }`,
      sql`SELECT id FROM AllGroup WHERE ${
        inList("id", wanted.flatMap(([low, high]) => low > 0 ? [] : [high]))
      }`,
    );
    for (const { low, high } of conversations!.rows) this.#add(unknown, [low as number, high as number]);
    const [isUser, isGroup] = [idsOf(users!.rows), idsOf(groups!.rows)];
    const possible = [...unknown.values()]
      .filter(([low, high]) => low > 0 ? isUser.has(low) && isUser.has(high) : isGroup.has(high));
    if (possible.length > 0) await this.#create(connection, possible.sort(compareKeys));
    for (const key of possible) this.#add(unknown, key);
    return new Set(unknown.keys());
  }

  /** Removes a conversation that the database does not have. */
  delete(name: string): void {
    this.#tails.delete(name);
  }

  /**
   * Creates conversations, in the order of their keys, and the cursors of their members. Existing ones stay
   * unchanged.
   */
  async #create(connection: MysqlConnection, keys: readonly ConversationKey[]): Promise<void> {
    const pairs = keys.filter(([low]) => low > 0);
    const groups = keys.filter(([low]) => low === 0).map(([, high]) => high);
    const cursors = pairs.flatMap(([low, high]) =>
      [...new Set([low, high])].map((user) => [user, low, high, 0])
    );
    const lastSeqs = await this.#recoverLastSeqs(connection, keys);
    await connection.query(
      BEGIN,
      sql`INSERT INTO Conversation (low, high, last_seq)
          VALUES ${valuesList(keys.map((key) => [...key, lastSeqs.get(conversationName(key)) ?? 0]))}
          ON DUPLICATE KEY UPDATE last_seq = last_seq`,
      ...pairs.length > 0
        ? [
          sql`INSERT INTO MemberCursor (userid, low, high, seq) VALUES ${
            valuesList(cursors.sort(compareKeys))
          }
               ON DUPLICATE KEY UPDATE seq = seq`,
        ]
        : [],
      ...groups.length > 0
        ? [sql`INSERT INTO MemberCursor (userid, low, high, seq)
               SELECT userid, 0, groupid, 0 FROM GroupUser WHERE ${inList("groupid", groups)}
               ON DUPLICATE KEY UPDATE seq = MemberCursor.seq`]
        : [],
      COMMIT,
    );
  }

  /**
   * Returns the last seqs of conversations whose rows an operator has deleted, so that no seq is used twice.
   */
  async #recoverLastSeqs(
    connection: MysqlConnection,
    keys: readonly ConversationKey[],
  ): Promise<Map<string, number>> {
    const pairs = keys.filter(([low]) => low > 0);
    const groups = keys.filter(([low]) => low === 0).map(([, high]) => high);
    const cursors = pairs.flatMap(([low, high]) =>
      [...new Set([low, high])].map((user) => [user, low, high])
    );
    const found = await connection.query(
      sql`SELECT low, high, MAX(seq) AS seq FROM Message WHERE ${
        inList("(low, high)", keys)
      } GROUP BY low, high`,
      sql`SELECT low, high, seq FROM MemberCursor WHERE ${
        inList("(userid, low, high)", cursors)
      } AND seq > 0 ORDER BY seq`,
      sql`SELECT low, high, MAX(seq) AS seq FROM MemberCursor JOIN GroupUser USING (userid)
          WHERE ${inList("groupid", groups)} AND low = 0 AND high = groupid GROUP BY low, high`,
    );
    const lastSeqs = new Map<string, number>();
    for (const { low, high, seq } of found.flatMap(({ rows }) => rows)) {
      const name = conversationName([low as number, high as number]);
      lastSeqs.set(name, Math.max(lastSeqs.get(name) ?? 0, seq as number));
    }
    return lastSeqs;
  }

  #add(unknown: Map<string, ConversationKey>, key: ConversationKey): void {
    const name = conversationName(key);
    unknown.delete(name);
    this.#tails.set(name, UNKNOWN_TAIL);
  }
}

function idsOf(found: readonly Row[]): Set<number> {
  return new Set(found.map(({ id }) => id as number));
}
