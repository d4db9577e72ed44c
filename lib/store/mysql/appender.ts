/** Brings messages into the log: as many as have come in one transaction, again where others were in the way. */
import type { NewMessage } from "../store.ts";
import { type Answer, Append } from "./append.ts";
import { BatchSize } from "./batch_size.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { Gatherer, type Gathering, type Pending } from "./group_commit_queue.ts";
import { Known } from "./conversation_cache.ts";
import { pauseBeforeRetry, type Pool, RETRY_TIME } from "./pool.ts";

/** Messages in one batch: enough to make a commit's cost per message vanish, and done in some ten milliseconds. */
const MESSAGES_PER_BATCH = 1_000;

/** Bytes that a UTF-16 unit takes in a statement at most: as UTF-8, or escaped. */
const UNIT_BYTES = 3;

/** What a message is taken for, its text aside: at least what its numbers take in a statement. */
const MESSAGE_BYTES = 256;

/** How often a cid that nobody has found may still be there: other nodes can have been faster, but not each time. */
const DUPLICATES = 3;

/** What a batch needs. */
interface Way {
  readonly pool: Pool;
  readonly size: BatchSize;
  append(messages: readonly NewMessage[]): Append;
}

/**
 * The order in which a node's messages get into the log. `alone` is for changes that have to be in order with them.
 * `pool` is for it alone; no statement is longer than `maxPacket` bytes.
 */
export function appender(pool: Pool, maxPacket: number, fence: Fence): Gatherer<NewMessage, Answer> {
  const known = new Known();
  fence.onAdopt(() => known.clear());
  const size = new BatchSize(Math.floor(maxPacket / UNIT_BYTES) - MESSAGE_BYTES);
  const way: Way = { pool, size, append: (messages) => new Append(messages, known, fence) };
  const gathering: Gathering<NewMessage, Answer> = {
    sizeOf,
    fits() {
      let [count, text] = [0, 0];
      return (message) => ++count <= MESSAGES_PER_BATCH && (text += sizeOf(message)) <= size.text;
    },
    run: (batch) => store(way, batch, way.append(batch.map(({ call }) => call))),
  };
  return new Gatherer(gathering);
}

function sizeOf({ cid, body }: NewMessage): number {
  return MESSAGE_BYTES + cid.length + body.length;
}

type Batch = readonly Pending<NewMessage, Answer>[];

function textOf(batch: Batch): number {
  return batch.reduce((text, { call }) => text + sizeOf(call), 0);
}

/**
 * Stores a batch. If the database doesn't take one of its messages, that one fails alone. If the batch takes too long to
 * be answered, it is stored in parts that are small enough.
 */
async function store(way: Way, batch: Batch, append: Append): Promise<void> {
  try {
    const answers = await commit(way, append, textOf(batch));
    for (const [i, { resolve, reject }] of batch.entries()) {
      const answer = answers[i]!;
      if (answer instanceof DatabaseError) reject(answer);
      else resolve(answer);
    }
  } catch (error) {
    const kind = error instanceof DatabaseError ? error.kind : "bad"; // a value that can't be written
    if (kind === "silent") {
      if (!way.size.timedOut(textOf(batch)) || batch.length === 1) throw error;
      for (const [from, to] of parts(batch, way.size.text)) {
        await store(way, batch.slice(from, to), append.part(from, to));
      }
      return;
    }
    if (batch.length === 1 || (kind !== "bad" && kind !== "duplicate")) throw error;
    const half = batch.length >> 1;
    for (const [from, to] of [[0, half], [half, batch.length]] as const) {
      const part = batch.slice(from, to);
      await store(way, part, append.part(from, to)).catch((error) =>
        part.forEach(({ reject }) => reject(error))
      );
    }
  }
}

/** The places where parts of a batch begin and end, each of so much text at most or of one message. */
function parts(batch: Batch, most: number): (readonly [number, number])[] {
  const found: (readonly [number, number])[] = [];
  let [from, text] = [0, 0];
  for (const [i, { call }] of batch.entries()) {
    text += sizeOf(call);
    if (text <= most || i === from) continue;
    found.push([from, i]);
    [from, text] = [i, sizeOf(call)];
  }
  return [...found, [from, batch.length]];
}

/** Tries until it is done, or there is no sense in it. */
async function commit(
  { pool, size }: Way,
  append: Append,
  text: number,
): Promise<(Answer | DatabaseError)[]> {
  let [duplicates, lost] = [0, 0];
  for (const end = performance.now() + RETRY_TIME;;) {
    try {
      const began = performance.now();
      const answers = await pool.use((session) => append.attempt(session));
      size.took(performance.now() - began, text);
      return answers;
    } catch (error) {
      const { kind } = error as DatabaseError;
      const again = kind === "conflict" || kind === "locked"
        ? performance.now() < end
        : kind === "duplicate"
        ? ++duplicates <= DUPLICATES
        : kind === "lost" && ++lost === 1 && !append.hasTimedOut; // once, on a fresh connection, if one can be had at once
      if (!again) throw error;
      if (kind === "conflict") await pauseBeforeRetry();
    }
  }
}
