/** What keeps a node that knows one history of the database from changing another one. */
import { DatabaseError } from "./errors.ts";
import { type Sql, sql } from "./sql.ts";

/**
 * Reads the epoch in a transaction, and keeps it as it is until the end: a renewal waits for the change, or the change
 * sees the renewal.
 */
export const SELECT_EPOCH: Sql = sql`SELECT epoch FROM StoreIdentity WHERE id = 1 LOCK IN SHARE MODE`;

/** The epoch that a store's connections change the database in. All connections of a store share one. */
export class Fence {
  #epoch = "";
  #hasLostData = false;
  readonly #adoptListeners: (() => void)[] = [];

  /** Called when another epoch begins: what is cached of the log is of another history then. */
  onAdopt(listener: () => void): void {
    this.#adoptListeners.push(listener);
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Whether the database was seen to lack what it had committed: then its epoch must be renewed. */
  get hasLostData(): boolean {
    return this.#hasLostData;
  }

  /** Changes are made in this epoch from now on. */
  adoptEpoch(epoch: string): void {
    this.#epoch = epoch;
    this.#hasLostData = false;
    for (const listener of this.#adoptListeners) listener();
  }

  /** The database lacks what it had committed: it was restored, or a replica took over that had not received all. */
  reportDataLoss(): DatabaseError {
    this.#hasLostData = true;
    return new DatabaseError("refused", "the database lacks messages, logins or users that it had committed");
  }

  /** Throws a {@link DatabaseError} unless the database's epoch, read in the transaction that changes it, is ours. */
  check(epoch: unknown): void {
    if (this.#hasLostData || epoch !== this.#epoch) {
      throw new DatabaseError("refused", "the database was restored or replaced: its epoch is another one");
    }
  }
}
