/** The messages between a caller's thread and the database thread of the embedded store. */
import type { StoreLimits } from "../store.ts";
import type { FileFault, FileIdentity } from "./file_watch.ts";
import type { ChangeName, OperationName, ReadName, StoreCall } from "./operations.ts";

/** Makes the database thread serve the port's other end, too. It has no reply. */
export interface Attach {
  readonly kind: "attach";
  readonly port: MessagePort;
}

/** Calls that run together: the changes in one transaction, then the reads. */
export interface Batch {
  readonly changes: readonly StoreCall<ChangeName>[];
  readonly reads: readonly StoreCall<ReadName>[];
}

/** Calls in one flat array, each preceded by its length: several times cheaper to copy between threads. */
export type Packed = readonly unknown[];

/** A {@link Batch} in the form for the thread boundary. */
export interface PackedBatch {
  readonly kind: "batch";
  readonly changes: Packed;
  readonly reads: Packed;
}

/** Packs calls for the thread boundary. */
export function pack(calls: readonly StoreCall[]): Packed {
  const packed: unknown[] = [];
  for (const call of calls) packed.push(call.length, ...call);
  return packed;
}

/** Unpacks the result of {@link pack}. */
export function unpack<N extends OperationName>(packed: Packed): StoreCall<N>[] {
  const calls: StoreCall<N>[] = [];
  for (let at = 0; at < packed.length;) {
    const begin = at + 1;
    at = begin + (packed[at] as number);
    calls.push(packed.slice(begin, at) as StoreCall<N>);
  }
  return calls;
}

/** The file that the caller locked before the database is opened; see {@link FileLock}. */
export interface LockedFile {
  readonly path: string;
  readonly identity: FileIdentity;
  /** Whether commits may be missing. The epoch is renewed then, because seqs may be assigned again. */
  readonly isUnclosed: boolean;
}

/**
 * An unsolicited message to the thread that opened the database: the database's files are lost. All further
 * batches get a {@link WorkerFailure}.
 */
export interface FileLoss {
  readonly lost: FileFault & { readonly wal: FileIdentity | undefined };
}

/** A request to the database thread. Each gets one {@link WorkerReply} or {@link WorkerFailure}, in order. */
export type WorkerRequest =
  | {
    readonly kind: "open";
    readonly file: string;
    readonly limits: StoreLimits;
    /** In bytes; see {@link FreeSpace}. */
    readonly minFreeSpace: number;
    readonly locked: LockedFile | undefined;
  }
  | PackedBatch
  /** Waits until the checkpoint thread has opened the file. */
  | { readonly kind: "start" }
  /** Checks the database's files. If they are lost, a {@link FileLoss} precedes the reply. */
  | { readonly kind: "check" }
  /**
   * Saves the data that was committed before a {@link FileLoss}: in the database file, or in the new file
   * `copy`. Files that are then useless, and would damage another database, get names that end in `aside`.
   */
  | { readonly kind: "rescue"; readonly copy: string | undefined; readonly aside: string }
  | { readonly kind: "close" };

/**
 * The results of a batch's calls. A rescue has one result, the defect of the copy; other requests have none.
 */
export interface WorkerReply {
  /** The results of all changes, then those of the reads within the read budget: at least one read. */
  readonly results: readonly unknown[];
  /** The errors of failed calls, by their index in `results`. */
  readonly failures: ReadonlyMap<number, unknown>;
}

/** The failure of a whole request: none of its calls counts as done. */
export interface WorkerFailure {
  readonly error: unknown;
}
