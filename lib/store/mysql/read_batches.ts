/**
 * Reads for many users at once. Thousands of clients may log in at once, and a statement for fifty users
 * costs little more than a statement for one. So the reads that arrive during a request form the next
 * request, with one statement for all reads of a kind. A read never joins a request that was sent before: it
 * must see all commits before its call (invariant I3).
 */
import { GroupCommitQueue, type Pending } from "./group_commit_queue.ts";
import type { QueryResult } from "./mysql_connection.ts";
import type { Pool } from "./pool.ts";
import { type Sql, sql } from "./sql.ts";

/** Reads in one request: the rows of so many users take some milliseconds. */
const MAX_READS_PER_BATCH = 100;

/**
 * Rows of one statement for several reads: 50 for each read, which take some ten milliseconds. Beyond that,
 * each read has a statement of its own, with its own limit.
 */
export const MAX_ROWS_PER_BATCH = 5_000;

/** The limit of a statement for several reads. A result of that length is incomplete, and is not used. */
export const BATCH_LIMIT: Sql = sql`LIMIT ${MAX_ROWS_PER_BATCH + 1}`;

/** The approximate size of a waiting read. */
const BYTES_PER_READ = 256;

/** A kind of read, by its argument and its result. */
export interface BatchedRead<A, R> {
  /** Returns the statements for all these reads. Those for several reads end with {@link BATCH_LIMIT}. */
  statements(reads: readonly A[]): readonly Sql[];
  /** Returns the results of the reads from those of the statements. May read more. */
  results(pool: Pool, reads: readonly A[], found: readonly QueryResult[]): Promise<readonly R[]>;
}

/** A read that waits. */
interface Read {
  readonly kind: BatchedRead<unknown, unknown>;
  readonly argument: unknown;
}

/** The reads of a store. */
export class ReadBatches {
  readonly #queue: GroupCommitQueue<Read, unknown>;

  constructor(pool: Pool) {
    this.#queue = new GroupCommitQueue<Read, unknown>({
      sizeOf: () => BYTES_PER_READ,
      startBatch() {
        let count = 0;
        return () => ++count <= MAX_READS_PER_BATCH;
      },
      run: (batch) => runBatch(pool, batch),
    });
  }

  /** Runs a read together with others. */
  run<A, R>(kind: BatchedRead<A, R>, argument: A): Promise<R> {
    return this.#queue.add({ kind: kind as BatchedRead<unknown, unknown>, argument }) as Promise<R>;
  }
}

async function runBatch(pool: Pool, batch: readonly Pending<Read, unknown>[]): Promise<void> {
  const groups = [...Map.groupBy(batch, ({ call }) => call.kind)].map(([kind, pending]) => {
    const reads = pending.map(({ call }) => call.argument);
    return { kind, pending, reads, statements: kind.statements(reads) };
  });
  const found = await pool.read(...groups.flatMap(({ statements }) => statements));
  for (const { kind, pending, reads, statements } of groups) {
    const results = found.splice(0, statements.length);
    const isIncomplete = reads.length > 1 && results.some(({ rows }) => rows.length > MAX_ROWS_PER_BATCH);
    // Further reads of one kind do not delay the next batch.
    const completed = isIncomplete
      ? Promise.all(reads.map((read) => readAlone(pool, kind, read)))
      : kind.results(pool, reads, results);
    completed.then(
      (results) => pending.forEach(({ resolve }, i) => resolve(results[i])),
      (error) => pending.forEach(({ reject }) => reject(error)),
    );
  }
}

/** Runs a single read. */
async function readAlone<A, R>(pool: Pool, kind: BatchedRead<A, R>, argument: A): Promise<R> {
  const found = await pool.read(...kind.statements([argument]));
  return (await kind.results(pool, [argument], found))[0]!;
}
