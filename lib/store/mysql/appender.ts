/** Brings messages into the log: as many as have come in one transaction, again where others were in the way. */
import type { NewMessage } from "../store.ts";
import { type Answer, Append } from "./append.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { Gatherer, type Gathering, type Pending } from "./gatherer.ts";
import { Known } from "./known.ts";
import { pauseBeforeRetry, type Pool, RETRY_TIME } from "./pool.ts";

/** Messages in one batch: enough to make a commit's cost per message vanish, and done in some ten milliseconds. */
const MESSAGES_PER_BATCH = 1_000;

/** UTF-16 units of text in one batch: what a local network carries in some ten milliseconds too. */
const BATCH_TEXT = 4 * 1_024 * 1_024;

/** Bytes that a UTF-16 unit takes in a statement at most: as UTF-8, or escaped. */
const UNIT_BYTES = 3;

/** What a message is taken for, its text aside: at least what its numbers take in a statement. */
const MESSAGE_BYTES = 256;

/** How often a cid that nobody has found may still be there: other nodes can have been faster, but not each time. */
const DUPLICATES = 3;

/**
 * The order in which a node's messages get into the log. `alone` is for changes that have to be in order with them.
 * `pool` is for it alone; no statement is longer than `maxPacket` bytes.
 */
export function appender(pool: Pool, maxPacket: number, fence: Fence): Gatherer<NewMessage, Answer> {
  const batchText = Math.min(BATCH_TEXT, Math.floor(maxPacket / UNIT_BYTES) - MESSAGE_BYTES);
  const known = new Known();
  fence.onAdopt(() => known.clear());
  const gathering: Gathering<NewMessage, Answer> = {
    sizeOf,
    fits() {
      let [count, text] = [0, 0];
      return (message) => ++count <= MESSAGES_PER_BATCH && (text += sizeOf(message)) <= batchText;
    },
    run: (batch) => store(pool, (messages) => new Append(messages, known, fence), batch),
  };
  return new Gatherer(gathering);
}

function sizeOf({ cid, body }: NewMessage): number {
  return MESSAGE_BYTES + cid.length + body.length;
}

/** Stores a batch. If the database doesn't take one of its messages, that one fails alone. */
async function store(
  pool: Pool,
  append: (messages: readonly NewMessage[]) => Append,
  batch: readonly Pending<NewMessage, Answer>[],
): Promise<void> {
  try {
    const answers = await commit(pool, append(batch.map(({ call }) => call)));
    for (const [i, { resolve, reject }] of batch.entries()) {
      const answer = answers[i]!;
      if (answer instanceof DatabaseError) reject(answer);
      else resolve(answer);
    }
  } catch (error) {
    const kind = error instanceof DatabaseError ? error.kind : "bad"; // a value that can't be written
    if (batch.length === 1 || (kind !== "bad" && kind !== "duplicate")) throw error;
    const half = batch.length >> 1;
    for (const part of [batch.slice(0, half), batch.slice(half)]) {
      await store(pool, append, part).catch((error) => part.forEach(({ reject }) => reject(error)));
    }
  }
}

/** Tries until it is done, or there is no sense in it. */
async function commit(pool: Pool, append: Append): Promise<(Answer | DatabaseError)[]> {
  let [duplicates, lost] = [0, 0];
  for (const end = performance.now() + RETRY_TIME;;) {
    try {
      return await pool.use((session) => append.attempt(session));
    } catch (error) {
      const { kind } = error as DatabaseError;
      const again = kind === "conflict" || kind === "locked"
        ? performance.now() < end
        : kind === "duplicate"
        ? ++duplicates <= DUPLICATES
        : kind === "lost" && ++lost === 1; // once, on a fresh connection, if one can be had at once
      if (!again) throw error;
      if (kind === "conflict") await pauseBeforeRetry();
    }
  }
}
