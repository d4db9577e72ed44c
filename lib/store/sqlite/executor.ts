/** Runs batches of calls on the database thread: all changes in one commit. */
import type { DatabaseSync } from "node:sqlite";
import type { StoreLimits } from "../store.ts";
import type { Batch, WorkerReply } from "./calls.ts";
import { Changes } from "./changes.ts";
import { type LatestCommit, latestCommitAfter, readLatestCommit } from "./newest.ts";
import type { FreeSpace } from "./free_space.ts";
import type { ChangeName, OperationName, ReadName, StoreCall, SyncOperations } from "./operations.ts";
import { Reads } from "./reads.ts";
import { Memtable } from "./memtable.ts";

/**
 * Time limit for the reads of a batch, so that slow reads do not delay the next commit. It is about the
 * duration of a commit on a slow disk. A read in progress is finished.
 */
const READ_BUDGET_MS = 5;

/** Runs batches on a database that nothing else writes to. */
export class Executor {
  readonly #db: DatabaseSync;
  readonly #memtable: Memtable;
  readonly #changes: Changes;
  readonly #reads: Reads;
  readonly #sql: ReturnType<typeof prepare>;
  #latestCommit: LatestCommit;

  /** Tests set `memtable`. */
  constructor(
    db: DatabaseSync,
    limits: StoreLimits,
    memtable: Memtable = new Memtable(db),
    space: Pick<FreeSpace, "isLow"> = { isLow: false },
  ) {
    this.#db = db;
    this.#memtable = memtable;
    this.#changes = new Changes(db, memtable, limits, space);
    this.#reads = new Reads(db, memtable);
    this.#sql = prepare(db);
    this.#latestCommit = readLatestCommit(db);
  }

  /** The newest committed data, also after a fault of the file. */
  get latestCommit(): LatestCommit {
    return this.#latestCommit;
  }

  /**
   * Commits the changes of all batches in one transaction, and then runs each batch's reads until the time
   * limit is over. The reply has no results for the remaining reads. Errors are in the replies; the method
   * never throws.
   */
  run(batches: readonly Batch[]): WorkerReply[] {
    const changes = batches.flatMap(({ changes }) => changes);
    const failures = new Map<number, unknown>();
    const results = changes.length > 0 ? this.#commit(changes, failures) : [];
    this.#latestCommit = latestCommitAfter(this.#latestCommit, changes, results);
    let begin = 0; // the index of the batch's first result
    return batches.map((batch) => {
      const end = begin + batch.changes.length;
      const own = [...failures].filter(([i]) => begin <= i && i < end)
        .map(([i, error]) => [i - begin, error] as const);
      const reply = this.#read(batch.reads, results.slice(begin, end), new Map(own));
      begin = end;
      return reply;
    });
  }

  /** Runs a batch's reads, and appends their results to those of its changes. */
  #read(
    reads: readonly StoreCall<ReadName>[],
    results: unknown[],
    failures: Map<number, unknown>,
  ): WorkerReply {
    const startedAt = performance.now();
    for (const call of reads) {
      let result: unknown;
      try {
        result = invoke(this.#reads, call);
      } catch (error) {
        failures.set(results.length, error);
      }
      results.push(result);
      if (performance.now() - startedAt >= READ_BUDGET_MS) break;
    }
    return { results, failures };
  }

  #commit(calls: readonly StoreCall<ChangeName>[], failures: Map<number, unknown>): unknown[] {
    try {
      return this.#transaction(() => {
        const results = calls.map((call) => invoke(this.#changes, call));
        this.#memtable.compact();
        return results;
      });
    } catch {
      // Repeated below with a savepoint for each call, so that only the failing call is rejected.
    }
    try {
      return this.#transaction(() =>
        calls.map((call, i) => this.#invokeInSavepoint(call, (error) => failures.set(i, error)))
      );
    } catch (error) {
      for (const i of calls.keys()) failures.set(i, error);
      return calls.map(() => undefined);
    }
  }

  #transaction<T>(work: () => T): T {
    const { mark } = this.#memtable;
    this.#sql.begin.run();
    try {
      const result = work();
      this.#sql.commit.run();
      this.#memtable.onCommit();
      return result;
    } catch (error) {
      this.#memtable.rollback(mark);
      if (this.#db.isTransaction) this.#sql.rollback.run();
      throw error;
    } finally {
      this.#changes.clearCache();
    }
  }

  /** Runs a change in a savepoint, and undoes it if it throws. Throws if SQLite ended the transaction. */
  #invokeInSavepoint(call: StoreCall<ChangeName>, onError: (error: unknown) => void): unknown {
    const { mark } = this.#memtable;
    this.#sql.save.run();
    let result: unknown;
    try {
      result = invoke(this.#changes, call);
    } catch (error) {
      if (!this.#db.isTransaction) throw error;
      this.#memtable.rollback(mark);
      this.#changes.clearCache();
      this.#sql.rollbackTo.run();
      onError(error);
    }
    this.#sql.release.run();
    return result;
  }
}

function prepare(db: DatabaseSync) {
  return {
    begin: db.prepare("BEGIN IMMEDIATE"),
    commit: db.prepare("COMMIT"),
    rollback: db.prepare("ROLLBACK"),
    save: db.prepare("SAVEPOINT one"),
    rollbackTo: db.prepare("ROLLBACK TO one"),
    release: db.prepare("RELEASE one"),
  };
}

function invoke<N extends OperationName>(
  target: SyncOperations<N>,
  [name, ...args]: StoreCall<N>,
): unknown {
  // The type of StoreCall ties the arguments to the name; destructuring loses that.
  return (target[name] as (...args: unknown[]) => unknown).apply(target, args);
}
