/** What keeps a node that knows one history of the database from changing another one. */
import { DatabaseError } from "./errors.ts";
import { type Sql, sql } from "./sql.ts";

/**
 * Reads the epoch in a transaction, and keeps it as it is until the end: a renewal waits for the change, or the change
 * sees the renewal.
 */
export const EPOCH: Sql = sql`SELECT epoch FROM StoreIdentity WHERE id = 1 LOCK IN SHARE MODE`;

/** The epoch that a store's connections change the database in. All connections of a store share one. */
export class Fence {
  #epoch = "";
  #isLost = false;
  readonly #onAdopt: (() => void)[] = [];

  /** Called when another epoch begins: what is cached of the log is of another history then. */
  onAdopt(drop: () => void): void {
    this.#onAdopt.push(drop);
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Whether the database was seen to lack what it had committed: then its epoch must be renewed. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Changes are made in this epoch from now on. */
  adopt(epoch: string): void {
    this.#epoch = epoch;
    this.#isLost = false;
    for (const drop of this.#onAdopt) drop();
  }

  /** The database lacks what it had committed: it was restored, or a replica took over that had not received all. */
  reportLoss(): DatabaseError {
    this.#isLost = true;
    return new DatabaseError("refused", "the database lacks messages, logins or users that it had committed");
  }

  /** Throws a {@link DatabaseError} unless the database's epoch, read in the transaction that changes it, is ours. */
  check(epoch: unknown): void {
    if (this.#isLost || epoch !== this.#epoch) {
      throw new DatabaseError("refused", "the database was restored or replaced: its epoch is another one");
    }
  }
}
