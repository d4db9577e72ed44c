/** How one batch of messages gets into the log: one transaction of two round trips, whatever its size. */
import { type Key, keyOf } from "../conversation.ts";
import type { Appended, NewMessage, Refused } from "../store.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { type Known, nameOf } from "./conversation_cache.ts";
import { BEGIN, COMMIT, type Row, type Session } from "./mysql_connection.ts";
import { among, rows, sql, type Value } from "./sql.ts";

const [WAIT, SKIP] = [sql``, sql`SKIP LOCKED`];
/**
 * Milliseconds after a time-out for which the conversations are waited for: they can be locked by the transaction that
 * timed out, which goes on until its end, or until the server sees that its connection is gone.
 */
const OWN_LOCKS_TIME = 8_000;

const LOCKED = new DatabaseError("locked", "the conversation is locked by somebody else");

/** What becomes of a message. */
export type Answer = Appended | Refused;

/** What is known of a message's cid: which message it is the id of. */
interface Claim {
  readonly conversation: string;
  readonly seq: number;
  readonly time: number;
}

/** A batch of messages, which may take more than one attempt. */
export class Append {
  readonly #messages: readonly NewMessage[];
  readonly #known: Known;
  readonly #fence: Fence;
  readonly #keys: readonly Key[]; // of the messages' conversations, by their places
  readonly #conversations: ReadonlyMap<string, Key>;
  /** Whether cids are looked up in the log first. Hardly any is there, so that it is done only after a failure. */
  #lookUp = false;
  /** Whether conversations are passed over that somebody else keeps locked. They are waited for once. */
  #passOver = false;
  /** What was asked to be committed without its being known whether that was done. */
  readonly #uncertain: Map<string, Claim>;
  /** Until when conversations that are locked are waited for, in performance.now()'s time. */
  #waitsUntil = 0;

  constructor(
    messages: readonly NewMessage[],
    known: Known,
    fence: Fence,
    uncertain = new Map<string, Claim>(),
  ) {
    this.#uncertain = uncertain;
    this.#fence = fence;
    this.#messages = messages;
    this.#known = known;
    this.#keys = messages.map(({ sender, peer }) => keyOf(sender, peer));
    this.#lookUp = messages.some(({ isRepeat }) => isRepeat);
    this.#conversations = new Map(this.#keys.map((key) => [nameOf(key), key]));
  }

  /** Whether an attempt got no answer in time. */
  get hasTimedOut(): boolean {
    return this.#waitsUntil > 0;
  }

  /** A part of the messages, for further attempts after one that failed. */
  part(from: number, to: number): Append {
    const part = new Append(this.#messages.slice(from, to), this.#known, this.#fence, this.#uncertain);
    part.#lookUp ||= this.#lookUp;
    part.#waitsUntil = this.#waitsUntil;
    return part;
  }

  /**
   * Tries to store the messages, and gives the answers to them in their order when that is committed: an error for those
   * of a conversation that is kept locked, perhaps by a node that is frozen. Rejects with a
   * {@link DatabaseError}; it may then be called again, also where it isn't known whether that was committed.
   */
  async attempt(session: Session): Promise<(Answer | DatabaseError)[]> {
    try {
      return await this.#attempt(session);
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind === "lost" || kind === "silent" || kind === "duplicate") this.#lookUp = true;
      if (kind === "silent") this.#waitsUntil = performance.now() + OWN_LOCKS_TIME;
      if (kind === "locked" && performance.now() >= this.#waitsUntil) this.#passOver = true;
      throw error;
    }
  }

  async #attempt(session: Session): Promise<(Answer | DatabaseError)[]> {
    const missing = await this.#known.ensure(session, this.#conversations);
    const log = await this.#look(session, missing);
    const claimed = new Map<string, Claim>();
    const planned = new Map<string, Claim>();
    const stored: Value[][] = [];
    const answers = this.#messages.map((message, i): Answer | DatabaseError => {
      const { sender, peer, cid, body, time } = message;
      const key = this.#keys[i]!;
      const conversation = nameOf(key);
      const last = log.lastSeqs.get(conversation);
      if (last === undefined) return missing.has(conversation) ? { refused: "not_found" } : LOCKED;
      if (peer < 0 && !log.members.has(`${-peer} ${sender}`)) return { refused: "forbidden" };
      const id = idOf(sender, cid);
      const first = claimed.get(id) ?? log.claims.get(id);
      if (first) {
        const repeated = claimed.has(id) || !same(first, this.#uncertain.get(id));
        claimed.set(id, first);
        if (first.conversation !== conversation) return { refused: "cid_reused" };
        return { seq: first.seq, time: first.time, repeated };
      }
      if (message.isRepeat) return { refused: "over_quota" };
      const stamp = Math.max(time, log.times.get(conversation) ?? 0); // within a conversation time never decreases
      log.times.set(conversation, stamp);
      const claim = { conversation, seq: last + 1, time: stamp };
      claimed.set(id, claim);
      planned.set(id, claim);
      log.lastSeqs.set(conversation, claim.seq);
      stored.push([...key, claim.seq, sender, cid, stamp, body]);
      return { seq: claim.seq, time: stamp, repeated: false };
    });
    if (stored.length === 0) return answers;
    try {
      await this.#write(session, stored, log.lastSeqs);
    } catch (error) {
      const { kind } = error as DatabaseError;
      if (kind === "lost" || kind === "silent") {
        for (const [id, claim] of planned) this.#uncertain.set(id, claim);
      }
      throw error;
    }
    this.#known.committed(log.lastSeqs);
    return answers;
  }

  /**
   * Begins the transaction: locks the conversations, in the order of their keys, so that no two nodes wait for each
   * other; and only then looks up who is a member, and the cids.
   */
  async #look(session: Session, missing: ReadonlySet<string>): Promise<Looked> {
    const keys = [...this.#conversations].filter(([name]) => !missing.has(name)).map(([, key]) => key);
    const members = this.#messages.filter(({ peer }) => peer < 0).map(({ sender, peer }) => [-peer, sender]);
    const cids = this.#lookUp ? this.#messages.map(({ sender, cid }) => [sender, cid]) : [];
    const [, locked, timed, joined, found] = await session.query(
      BEGIN,
      sql`SELECT low, high, last_seq FROM Conversation WHERE ${among("(low, high)", keys)}
          ORDER BY low, high FOR UPDATE ${this.#passOver ? SKIP : WAIT}`,
      sql`SELECT low, high, time FROM Conversation JOIN Message USING (low, high)
          WHERE ${among("(low, high)", keys)} AND Message.seq = last_seq`,
      sql`SELECT groupid, userid FROM GroupUser WHERE ${among("(groupid, userid)", members)}`,
      sql`SELECT sender, cid, low, high, seq, time FROM Message WHERE ${among("(sender, cid)", cids)}`,
    );
    const lastSeqs = new Map(locked!.rows.map((row) => [nameOfRow(row), row.last_seq as number]));
    if (this.#known.isAhead(lastSeqs)) throw this.#fence.reportLoss();
    for (const name of keys.map(nameOf)) {
      if (lastSeqs.has(name) || this.#passOver) continue;
      this.#known.forget(name);
      throw new DatabaseError("conflict", "a conversation that was there is gone");
    }
    return {
      lastSeqs,
      times: new Map(timed!.rows.map((row) => [nameOfRow(row), row.time as number])),
      members: new Set(joined!.rows.map(({ groupid, userid }) => `${groupid} ${userid}`)),
      claims: new Map(found!.rows.map((row) => [
        idOf(row.sender as number, utf8.decode(row.cid as Uint8Array)),
        { conversation: nameOfRow(row), seq: row.seq as number, time: row.time as number },
      ])),
    };
  }

  async #write(
    session: Session,
    stored: readonly (readonly Value[])[],
    lastSeqs: ReadonlyMap<string, number>,
  ): Promise<void> {
    const conversations = [...lastSeqs].map(([name, last]) => [...this.#conversations.get(name)!, last]);
    await session.query(
      sql`INSERT INTO Message (low, high, seq, sender, cid, time, body) VALUES ${rows(stored)}`,
      sql`INSERT INTO Conversation (low, high, last_seq) VALUES ${rows(conversations)}
          ON DUPLICATE KEY UPDATE last_seq = VALUES(last_seq)`,
      COMMIT,
    );
  }
}

/** What the log and the groups say at the beginning of an attempt. */
interface Looked {
  /** By the conversations' names. */
  readonly lastSeqs: Map<string, number>;
  /** Of the conversations' last messages, by the same. */
  readonly times: Map<string, number>;
  /** `group user` of those of the senders that are in the groups. */
  readonly members: ReadonlySet<string>;
  readonly claims: ReadonlyMap<string, Claim>;
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

function idOf(sender: number, cid: string): string {
  return `${sender} ${cid}`;
}

function nameOfRow({ low, high }: Row): string {
  return nameOf([low as number, high as number]);
}

function same(a: Claim, b: Claim | undefined): boolean {
  return a.conversation === b?.conversation && a.seq === b.seq && a.time === b.time;
}
