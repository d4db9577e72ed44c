/** What the store fails with from the loss of its files on. */
import type { Found, Identity } from "./file_watch.ts";

/** The database's files are not what was committed to. */
export class LostError extends Error {
  override readonly name = "LostError";
  /** Whether a file that is in its place has lost its end. */
  readonly isCut: boolean;
  /** The write-ahead log that belongs to the database. */
  readonly wal: Identity | undefined;

  constructor({ reason, isCut, wal }: Found & { readonly wal: Identity | undefined }) {
    super(reason);
    this.isCut = isCut;
    this.wal = wal;
  }
}
