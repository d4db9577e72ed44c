/** The error of all calls after the loss of the database's files. */
import type { FileFault, FileIdentity } from "./file_watch.ts";

/** The loss of the database's files: they are not the files that the commits went to. */
export class DatabaseLostError extends Error {
  override readonly name = "DatabaseLostError";
  /** See {@link FileFault}. */
  readonly isTruncated: boolean;
  /** The identity of the database's write-ahead log. */
  readonly wal: FileIdentity | undefined;

  constructor({ reason, isTruncated, wal }: FileFault & { readonly wal: FileIdentity | undefined }) {
    super(reason);
    this.isTruncated = isTruncated;
    this.wal = wal;
  }
}
