/** Carries out batches of calls on the thread that holds the database: many changes, one commit. */
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
 * Milliseconds for the reads of each batch, so that slow ones don't keep the next commit waiting: of the order of a
 * commit on a slow disk. The read under way when they are over is finished.
 */
const READ_BUDGET_MS = 5;

/** Runs batches on a database that it alone uses. */
export class Executor {
  readonly #db: DatabaseSync;
  readonly #memtable: Memtable;
  readonly #changes: Changes;
  readonly #reads: Reads;
  readonly #sql: ReturnType<typeof prepare>;
  #latestCommit: LatestCommit;

  /** `recent` is another than the default in tests. */
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

  /** The newest that is committed, whatever the file says by now. */
  get latestCommit(): LatestCommit {
    return this.#latestCommit;
  }

  /**
   * Commits the batches' changes as one transaction, and then does each one's reads, as many as there is time for:
   * its answer has no results for the others. What fails is in the answers; it never throws.
   */
  run(batches: readonly Batch[]): WorkerReply[] {
    const changes = batches.flatMap(({ changes }) => changes);
    const failures = new Map<number, unknown>();
    const results = changes.length > 0 ? this.#commit(changes, failures) : [];
    this.#latestCommit = latestCommitAfter(this.#latestCommit, changes, results);
    let begin = 0;
    return batches.map((batch) => {
      const end = begin + batch.changes.length;
      const own = [...failures].filter(([i]) => begin <= i && i < end)
        .map(([i, error]) => [i - begin, error] as const);
      const answer = this.#read(batch.reads, results.slice(begin, end), new Map(own));
      begin = end;
      return answer;
    });
  }

  /** Adds what the reads give to an answer about changes. */
  #read(
    reads: readonly StoreCall<ReadName>[],
    results: unknown[],
    failures: Map<number, unknown>,
  ): WorkerReply {
    const begun = performance.now();
    for (const call of reads) {
      let result: unknown;
      try {
        result = invoke(this.#reads, call);
      } catch (error) {
        failures.set(results.length, error);
      }
      results.push(result);
      if (performance.now() - begun >= READ_BUDGET_MS) break;
    }
    return { results, failures };
  }

  #commit(calls: readonly StoreCall<ChangeName>[], failures: Map<number, unknown>): unknown[] {
    try {
      return this.#transaction((mark) => {
        const results = calls.map((call) => invoke(this.#changes, call));
        this.#memtable.compact(mark);
        return results;
      });
    } catch {
      // Once more, more slowly: if one call is to blame, it fails alone.
    }
    try {
      return this.#transaction(() =>
        calls.map((call, i) => this.#alone(call, (error) => failures.set(i, error)))
      );
    } catch (error) {
      for (const i of calls.keys()) failures.set(i, error);
      return calls.map(() => undefined);
    }
  }

  #transaction<T>(work: (mark: number) => T): T {
    const { mark } = this.#memtable;
    this.#sql.begin.run();
    try {
      const result = work(mark);
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

  /** One call inside a transaction. If it throws, it leaves nothing behind, unless the transaction is lost. */
  #alone(call: StoreCall<ChangeName>, failed: (error: unknown) => void): unknown {
    const { mark } = this.#memtable;
    this.#sql.save.run();
    let result: unknown;
    try {
      result = invoke(this.#changes, call);
    } catch (error) {
      if (!this.#db.isTransaction) throw error;
      this.#memtable.rollback(mark);
      this.#changes.clearCache();
      this.#sql.undo.run();
      failed(error);
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
    undo: db.prepare("ROLLBACK TO one"),
    release: db.prepare("RELEASE one"),
  };
}

function invoke<N extends OperationName>(
  target: SyncOperations<N>,
  [name, ...args]: StoreCall<N>,
): unknown {
  // A call's name and arguments belong together by its type, which is lost where they are taken apart.
  return (target[name] as (...args: unknown[]) => unknown).apply(target, args);
}
