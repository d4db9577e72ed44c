/** Prevents a node that knows one history of the database from writing to another one. */
import { DatabaseError } from "./errors.ts";
import { Sql, sql } from "./sql.ts";

/**
 * Reads the epoch in a transaction, and locks it until the end. So a renewal waits for the transaction, or
 * the transaction sees the renewal.
 */
export const SELECT_EPOCH: Sql = sql`SELECT epoch FROM StoreIdentity WHERE id = 1 LOCK IN SHARE MODE`;

/** A statement that does nothing in another epoch. Its transaction need not read the epoch before. */
export class FencedSql extends Sql {}

/** The epoch in which the connections of a store write. All connections of a store share one fence. */
export class Fence {
  #epoch = "";
  #hasLostData = false;
  readonly #adoptListeners: (() => void)[] = [];

  /** Adds a listener that is called when another epoch begins. Caches of the log are invalid then. */
  onAdopt(listener: () => void): void {
    this.#adoptListeners.push(listener);
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Whether the database was found to lack committed data. The epoch must be renewed in this case. */
  get hasLostData(): boolean {
    return this.#hasLostData;
  }

  /**
   * Adds the condition that the epoch is the fence's to a statement that ends with its conditions. As the
   * first of a transaction, it locks the epoch as {@link SELECT_EPOCH} does. So a transaction can be checked
   * in the request that commits it.
   */
  checkIn(statement: Sql): FencedSql {
    const epoch = this.#hasLostData ? sql`NULL` : sql`${this.#epoch}`;
    return new FencedSql(
      sql`${statement} AND (SELECT epoch FROM StoreIdentity WHERE id = 1 LOCK IN SHARE MODE) = ${epoch}`.text,
    );
  }

  /** Sets the epoch for all later writes. */
  adoptEpoch(epoch: string): void {
    this.#epoch = epoch;
    this.#hasLostData = false;
    for (const listener of this.#adoptListeners) listener();
  }

  /**
   * Records that the database lacks committed data: it was restored, or a replica without all commits became
   * the master. Returns the error to throw.
   */
  reportDataLoss(): DatabaseError {
    this.#hasLostData = true;
    return new DatabaseError(
      "unavailable",
      "the database lacks messages, logins or users that it had committed",
    );
  }

  /**
   * Throws a {@link DatabaseError} unless `epoch` is the fence's. `epoch` must have been read in the writing
   * transaction.
   */
  check(epoch: unknown): void {
    if (this.#hasLostData || epoch !== this.#epoch) {
      throw new DatabaseError(
        "unavailable",
        "the database was restored or replaced: its epoch is another one",
      );
    }
  }
}
