/** Appends the messages of a node to the log in batches, and retries after conflicts. */
import type { NewMessage } from "../store.ts";
import { AppendBatch, type AppendResult } from "./append.ts";
import { BatchSize } from "./batch_size.ts";
import { DatabaseError } from "./errors.ts";
import type { Fence } from "./fence.ts";
import { type BatchPolicy, GroupCommitQueue, type Pending } from "./group_commit_queue.ts";
import type { ConversationCache } from "./conversation_cache.ts";
import { MAX_RETRY_MS, type Pool, waitBeforeRetry } from "./pool.ts";

/**
 * Messages in one batch: enough to make the cost of a commit per message negligible, and done in some ten
 * milliseconds.
 */
const MESSAGES_PER_BATCH = 1_000;

/** Bytes that a UTF-16 unit takes in a statement at most, in UTF-8 or escaped. */
const BYTES_PER_UNIT = 3;

/**
 * The length of a message without its text, in UTF-16 units: at least the length of its numbers in a
 * statement.
 */
const MESSAGE_OVERHEAD = 256;

/**
 * Retries after a duplicate cid that the lookup has not found: another node may store a cid in between, but
 * not each time.
 */
const MAX_DUPLICATE_RETRIES = 3;

/** The shared state of all batches. */
interface AppendContext {
  readonly pool: Pool;
  readonly size: BatchSize;
  append(messages: readonly NewMessage[]): AppendBatch;
}

/**
 * Returns the queue in which a node's messages get into the log. `pool` must have no other user. No statement
 * is longer than `maxPacketBytes`.
 */
export function appendQueue(
  pool: Pool,
  maxPacketBytes: number,
  fence: Fence,
  cache: ConversationCache,
): GroupCommitQueue<NewMessage, AppendResult> {
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
  return batch.reduce((length, { call }) => length + sizeOf(call), 0);
}

/**
 * Stores a batch. If the database rejects a message, that message fails alone. If the batch times out, stores
 * it in parts that are small enough.
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
    const kind = error instanceof DatabaseError ? error.kind : "invalid"; // a value that has no literal
    if (kind === "timeout") {
      if (!context.size.recordTimeout(lengthOf(batch)) || batch.length === 1) throw error;
      for (const [from, to] of splitBatch(batch, context.size.length)) {
        await storeBatch(context, batch.slice(from, to), append.part(from, to));
      }
      return;
    }
    if (batch.length === 1 || (kind !== "invalid" && kind !== "duplicate")) throw error;
    const half = batch.length >> 1;
    for (const [from, to] of [[0, half], [half, batch.length]] as const) {
      const part = batch.slice(from, to);
      await storeBatch(context, part, append.part(from, to)).catch((error) =>
        part.forEach(({ reject }) => reject(error))
      );
    }
  }
}

/**
 * Returns the begin and the end of each part. A part has at most `maxLength` UTF-16 units, or is one message.
 */
function splitBatch(batch: Batch, maxLength: number): (readonly [number, number])[] {
  const parts: (readonly [number, number])[] = [];
  let [from, length] = [0, 0];
  for (const [i, { call }] of batch.entries()) {
    length += sizeOf(call);
    if (length <= maxLength || i === from) continue;
    parts.push([from, i]);
    [from, length] = [i, sizeOf(call)];
  }
  return [...parts, [from, batch.length]];
}

/** Retries the batch until it is committed, or until a retry cannot help. */
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
        // Once, and only if a new connection is available.
        : kind === "connection_lost" && ++lost === 1 && !append.hasTimedOut;
      if (!shouldRetry) throw error;
      if (kind === "conflict") await waitBeforeRetry();
    }
  }
}
