/**
 * The latest commit, by which a copy of the database is verified: a copy that has it has all earlier commits.
 */
import type { DatabaseSync } from "node:sqlite";
import { conversationKey } from "../conversation.ts";
import type { Appended } from "../store.ts";
import type { ChangeName, StoreCall } from "./operations.ts";
import { damageIn } from "./damage.ts";

/** The newest committed data. */
export interface LatestCommit {
  /** The newest message; undefined if the memtable had none at the start and none was added. */
  readonly message: readonly [low: number, high: number, seq: number] | undefined;
  /** The highest account id; 0 if there is no account. */
  readonly user: number;
}

/** Reads the newest data of an open database. */
export function readLatestCommit(db: DatabaseSync): LatestCommit {
  const row = db.prepare("SELECT low, high, seq FROM RecentMessage ORDER BY n DESC LIMIT 1").get() as
    | { low: number; high: number; seq: number }
    | undefined;
  const { user } = db.prepare("SELECT ifnull(max(id), 0) AS user FROM User").get() as { user: number };
  return { message: row && [row.low, row.high, row.seq], user };
}

/** Returns the newest data after a commit of calls with their results. */
export function latestCommitAfter(
  before: LatestCommit,
  calls: readonly StoreCall<ChangeName>[],
  results: readonly unknown[],
): LatestCommit {
  let { message, user } = before;
  for (const [i, call] of calls.entries()) {
    const result = results[i];
    if (call[0] === "append") {
      const seq = newSeq(result);
      if (seq !== undefined) message = [...conversationKey(call[1], call[2]), seq];
    } else if (call[0] === "createUser") user = (result as { id?: number } | undefined)?.id ?? user;
  }
  return { message, user };
}

/** Returns the seq of the message that an `append` stored; undefined if it stored none. */
function newSeq(result: unknown): number | undefined {
  if (typeof result === "number") return result;
  const { duplicate, seq } = (result ?? {}) as Partial<Appended>;
  return duplicate === false ? seq : undefined; // a message whose time was adjusted
}

/** Throws an Error of one line if a database is damaged or lacks the latest commit. */
export function verifyDatabase(db: DatabaseSync, { message, user }: LatestCommit): void {
  const damage = damageIn(db);
  if (damage !== undefined) throw new Error(`it is damaged: ${damage}`);
  if (user > 0 && !db.prepare("SELECT 1 FROM User WHERE id = ?").get(user)) {
    throw new Error(`it lacks the account ${user}`);
  }
  if (!message) return;
  const found = ["RecentMessage", "Message"].some((table) =>
    db.prepare(`SELECT 1 FROM ${table} WHERE low = ? AND high = ? AND seq = ?`).get(...message)
  );
  if (!found) throw new Error(`it lacks the newest message (low, high, seq: ${message.join(", ")})`);
}
