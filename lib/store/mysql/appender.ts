/** Brings messages into the log: as many as have come in one transaction, again where others were in the way. */
import type { NewMessage } from "../store.ts";
import { AppendBatch, type AppendResult } from "./append.ts";
import { BatchSize } from "./batch_size.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { type BatchPolicy, GroupCommitQueue, type Pending } from "./group_commit_queue.ts";
import { ConversationCache } from "./conversation_cache.ts";
import { MAX_RETRY_MS, type Pool, waitBeforeRetry } from "./pool.ts";

/** Messages in one batch: enough to make a commit's cost per message vanish, and done in some ten milliseconds. */
const MESSAGES_PER_BATCH = 1_000;

/** Bytes that a UTF-16 unit takes in a statement at most: as UTF-8, or escaped. */
const BYTES_PER_UNIT = 3;

/** What a message is taken for, its text aside: at least what its numbers take in a statement. */
const MESSAGE_OVERHEAD = 256;

/** How often a cid that nobody has found may still be there: other nodes can have been faster, but not each time. */
const MAX_DUPLICATE_RETRIES = 3;

/** What a batch needs. */
interface AppendContext {
  readonly pool: Pool;
  readonly size: BatchSize;
  append(messages: readonly NewMessage[]): AppendBatch;
}

/**
 * The order in which a node's messages get into the log. `alone` is for changes that have to be in order with them.
 * `pool` is for it alone; no statement is longer than `maxPacket` bytes.
 */
export function appendQueue(
  pool: Pool,
  maxPacketBytes: number,
  fence: Fence,
): GroupCommitQueue<NewMessage, AppendResult> {
  const cache = new ConversationCache();
  fence.onAdopt(() => cache.clear());
  const size = new BatchSize(Math.floor(maxPacketBytes / BYTES_PER_UNIT) - MESSAGE_OVERHEAD);
  const context: AppendContext = {
    pool,
    size,
    append: (messages) => new AppendBatch(messages, cache, fence),
  };
  const policy: BatchPolicy<NewMessage, AppendResult> = {
    sizeOf,
    startBatch() {
      let [count, length] = [0, 0];
      return (message) => ++count <= MESSAGES_PER_BATCH && (length += sizeOf(message)) <= size.length;
    },
    run: (batch) => storeBatch(context, batch, context.append(batch.map(({ call }) => call))),
  };
  return new GroupCommitQueue(policy);
}

function sizeOf({ cid, body }: NewMessage): number {
  return MESSAGE_OVERHEAD + cid.length + body.length;
}

type Batch = readonly Pending<NewMessage, AppendResult>[];

function lengthOf(batch: Batch): number {
  return batch.reduce((text, { call }) => text + sizeOf(call), 0);
}

/**
 * Stores a batch. If the database doesn't take one of its messages, that one fails alone. If the batch takes too long to
 * be answered, it is stored in parts that are small enough.
 */
async function storeBatch(context: AppendContext, batch: Batch, append: AppendBatch): Promise<void> {
  try {
    const results = await commitWithRetry(context, append, lengthOf(batch));
    for (const [i, { resolve, reject }] of batch.entries()) {
      const result = results[i]!;
      if (result instanceof DatabaseError) reject(result);
      else resolve(result);
    }
  } catch (error) {
    const kind = error instanceof DatabaseError ? error.kind : "bad"; // a value that can't be written
    if (kind === "silent") {
      if (!context.size.recordTimeout(lengthOf(batch)) || batch.length === 1) throw error;
      for (const [from, to] of splitBatch(batch, context.size.length)) {
        await storeBatch(context, batch.slice(from, to), append.part(from, to));
      }
      return;
    }
    if (batch.length === 1 || (kind !== "bad" && kind !== "duplicate")) throw error;
    const half = batch.length >> 1;
    for (const [from, to] of [[0, half], [half, batch.length]] as const) {
      const part = batch.slice(from, to);
      await storeBatch(context, part, append.part(from, to)).catch((error) =>
        part.forEach(({ reject }) => reject(error))
      );
    }
  }
}

/** The places where parts of a batch begin and end, each of so much text at most or of one message. */
function splitBatch(batch: Batch, maxLength: number): (readonly [number, number])[] {
  const found: (readonly [number, number])[] = [];
  let [from, text] = [0, 0];
  for (const [i, { call }] of batch.entries()) {
    text += sizeOf(call);
    if (text <= maxLength || i === from) continue;
    found.push([from, i]);
    [from, text] = [i, sizeOf(call)];
  }
  return [...found, [from, batch.length]];
}

/** Tries until it is done, or there is no sense in it. */
async function commitWithRetry(
  { pool, size }: AppendContext,
  append: AppendBatch,
  length: number,
): Promise<(AppendResult | DatabaseError)[]> {
  let [duplicates, lost] = [0, 0];
  for (const deadline = performance.now() + MAX_RETRY_MS;;) {
    try {
      const startedAt = performance.now();
      const results = await pool.use((connection) => append.attempt(connection));
      size.recordDuration(performance.now() - startedAt, length);
      return results;
    } catch (error) {
      const { kind } = error as DatabaseError;
      const shouldRetry = kind === "conflict" || kind === "locked"
        ? performance.now() < deadline
        : kind === "duplicate"
        ? ++duplicates <= MAX_DUPLICATE_RETRIES
        : kind === "lost" && ++lost === 1 && !append.hasTimedOut; // once, on a fresh connection, if one can be had at once
      if (!shouldRetry) throw error;
      if (kind === "conflict") await waitBeforeRetry();
    }
  }
}
