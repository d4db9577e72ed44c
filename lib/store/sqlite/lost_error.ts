/** What the store fails with from the loss of its files on. */
import type { FileFault, FileIdentity } from "./file_watch.ts";

/** The database's files are not what was committed to. */
export class DatabaseLostError extends Error {
  override readonly name = "DatabaseLostError";
  /** Whether a file that is in its place has lost its end. */
  readonly isTruncated: boolean;
  /** The write-ahead log that belongs to the database. */
  readonly wal: FileIdentity | undefined;

  constructor({ reason, isTruncated, wal }: FileFault & { readonly wal: FileIdentity | undefined }) {
    super(reason);
    this.isTruncated = isTruncated;
    this.wal = wal;
  }
}
