/** The conversations that messages can be appended to: making what isn't there yet, and remembering what is. */
import type { Key } from "../conversation.ts";
import { BEGIN, COMMIT, type Row, type Session } from "./mysql_connection.ts";
import { among, rows, sql } from "./sql.ts";

/** Conversations to remember, some 10 MB of them; the others are looked up again, which costs a round trip. */
const REMEMBERED = 100_000;

/** A conversation's key as a Map's. */
export function nameOf([low, high]: Key): string {
  return `${low} ${high}`;
}

/** Compares two keys as the database's indexes do: locks are taken in this order, so that no two wait for each other. */
export function byKey(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((value, i) => value !== b[i]);
  return differs < 0 ? 0 : a[differs]! - b[differs]!;
}

/** Conversations that are known to be in the database, and so are their users or groups, which are never deleted. */
export class Known {
  /** Each with the last seq that this node has committed, or 0. */
  readonly #names = new Map<string, number>();
  readonly #most: number;

  /** At most `most` are remembered, those that were found last. */
  constructor(most = REMEMBERED) {
    this.#most = most;
  }

  /** Whether one of these conversations is shorter now than when this node committed its last message. */
  isAhead(lastSeqs: ReadonlyMap<string, number>): boolean {
    return [...lastSeqs].some(([name, last]) => last < (this.#names.get(name) ?? 0));
  }

  /** This node has committed messages up to these seqs. */
  committed(lastSeqs: ReadonlyMap<string, number>): void {
    for (const [name, last] of lastSeqs) if (this.#names.has(name)) this.#names.set(name, last);
  }

  /** Forgets all: the database's history is another one. */
  clear(): void {
    this.#names.clear();
  }

  /**
   * Sees to it that these conversations are there, outside of any transaction. Gives the names of those that can't be,
   * since there are no such users, or no such group.
   */
  async ensure(session: Session, keys: ReadonlyMap<string, Key>): Promise<ReadonlySet<string>> {
    const unknown = new Map([...keys].filter(([name]) => !this.#names.has(name)));
    if (unknown.size === 0) return new Set();
    const wanted = [...unknown.values()];
    const [conversations, users, groups] = await session.query(
      sql`SELECT low, high FROM Conversation WHERE ${among("(low, high)", wanted)}`,
      sql`SELECT id FROM User WHERE ${
        among("id", wanted.flatMap(([low, high]) => low > 0 ? [low, high] : []))
      }`,
      sql`SELECT id FROM AllGroup WHERE ${
        among("id", wanted.flatMap(([low, high]) => low > 0 ? [] : [high]))
      }`,
    );
    for (const { low, high } of conversations!.rows) this.#remember(unknown, [low as number, high as number]);
    const [isUser, isGroup] = [idsOf(users!.rows), idsOf(groups!.rows)];
    const possible = [...unknown.values()]
      .filter(([low, high]) => low > 0 ? isUser.has(low) && isUser.has(high) : isGroup.has(high));
    if (possible.length > 0) await this.#make(session, possible.sort(byKey));
    for (const key of possible) this.#remember(unknown, key);
    return new Set(unknown.keys());
  }

  /** Forgets a conversation that turned out not to be there. */
  forget(name: string): void {
    this.#names.delete(name);
  }

  /** Makes conversations, in the order of their keys, and their members' cursors. Those that are there stay as they are. */
  async #make(session: Session, keys: readonly Key[]): Promise<void> {
    const pairs = keys.filter(([low]) => low > 0);
    const groups = keys.filter(([low]) => low === 0).map(([, high]) => high);
    const cursors = pairs.flatMap(([low, high]) =>
      [...new Set([low, high])].map((user) => [user, low, high, 0])
    );
    const lastLeft = await this.#lastLeft(session, keys);
    await session.query(
      BEGIN,
      sql`INSERT INTO Conversation (low, high, last_seq)
          VALUES ${rows(keys.map((key) => [...key, lastLeft.get(nameOf(key)) ?? 0]))}
          ON DUPLICATE KEY UPDATE last_seq = last_seq`,
      ...pairs.length > 0
        ? [sql`INSERT INTO MemberCursor (userid, low, high, seq) VALUES ${rows(cursors.sort(byKey))}
               ON DUPLICATE KEY UPDATE seq = seq`]
        : [],
      ...groups.length > 0
        ? [sql`INSERT INTO MemberCursor (userid, low, high, seq)
               SELECT userid, 0, groupid, 0 FROM GroupUser WHERE ${among("groupid", groups)}
               ON DUPLICATE KEY UPDATE seq = MemberCursor.seq`]
        : [],
      COMMIT,
    );
  }

  /** The last seqs of conversations whose rows an operator has deleted: none is given out twice. */
  async #lastLeft(session: Session, keys: readonly Key[]): Promise<Map<string, number>> {
    const pairs = keys.filter(([low]) => low > 0);
    const groups = keys.filter(([low]) => low === 0).map(([, high]) => high);
    const cursors = pairs.flatMap(([low, high]) =>
      [...new Set([low, high])].map((user) => [user, low, high])
    );
    const found = await session.query(
      sql`SELECT low, high, MAX(seq) AS seq FROM Message WHERE ${
        among("(low, high)", keys)
      } GROUP BY low, high`,
      sql`SELECT low, high, seq FROM MemberCursor WHERE ${
        among("(userid, low, high)", cursors)
      } AND seq > 0 ORDER BY seq`,
      sql`SELECT low, high, MAX(seq) AS seq FROM MemberCursor JOIN GroupUser USING (userid)
          WHERE ${among("groupid", groups)} AND low = 0 AND high = groupid GROUP BY low, high`,
    );
    const last = new Map<string, number>();
    for (const { low, high, seq } of found.flatMap(({ rows }) => rows)) {
      const name = nameOf([low as number, high as number]);
      last.set(name, Math.max(last.get(name) ?? 0, seq as number));
    }
    return last;
  }

  #remember(unknown: Map<string, Key>, key: Key): void {
    const name = nameOf(key);
    unknown.delete(name);
    this.#names.set(name, 0);
    if (this.#names.size > this.#most) this.#names.delete(this.#names.keys().next().value!);
  }
}

function idsOf(found: readonly Row[]): Set<number> {
  return new Set(found.map(({ id }) => id as number));
}
