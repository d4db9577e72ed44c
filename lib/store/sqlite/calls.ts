/** What the two threads of the embedded store say to each other. */
import type { StoreLimits } from "../store.ts";
import type { FileFault, FileIdentity } from "./file_watch.ts";
import type { ChangeName, OperationName, ReadName, StoreCall } from "./operations.ts";

/** Makes the thread that holds the database serve the thread at the other end of the port as well. Not answered. */
export interface Attach {
  readonly kind: "attach";
  readonly port: MessagePort;
}

/** Calls that are carried out together. */
export interface Batch {
  readonly changes: readonly StoreCall<ChangeName>[];
  readonly reads: readonly StoreCall<ReadName>[];
}

/** Calls one after the other in a flat array, each behind its length: several times cheaper to copy between threads. */
export type Packed = readonly unknown[];

/** A {@link Batch} on its way. */
export interface PackedBatch {
  readonly kind: "batch";
  readonly changes: Packed;
  readonly reads: Packed;
}

/** Makes calls fit for the way. */
export function pack(calls: readonly StoreCall[]): Packed {
  const packed: unknown[] = [];
  for (const call of calls) packed.push(call.length, ...call);
  return packed;
}

/** The inverse of {@link pack}. */
export function unpack<N extends OperationName>(packed: Packed): StoreCall<N>[] {
  const calls: StoreCall<N>[] = [];
  for (let at = 0; at < packed.length;) {
    const begin = at + 1;
    at = begin + (packed[at] as number);
    calls.push(packed.slice(begin, at) as StoreCall<N>);
  }
  return calls;
}

/** The file that was locked before the database is opened; see {@link FileLock}. */
export interface LockedFile {
  readonly path: string;
  readonly identity: FileIdentity;
  /** Commits may be missing: clients must not take seqs that are given out again for those that they know. */
  readonly isUnclosed: boolean;
}

/**
 * To the thread that opened the database, without being asked: its files are not where they were. From then on all
 * batches are answered with a {@link WorkerFailure}.
 */
export interface FileLoss {
  readonly lost: FileFault & { readonly wal: FileIdentity | undefined };
}

/** To the thread that holds the database. Each is answered with one {@link WorkerReply} or {@link WorkerFailure}, in order. */
export type WorkerRequest =
  | {
    readonly kind: "open";
    readonly file: string;
    readonly limits: StoreLimits;
    /** Bytes; see {@link FreeSpace}. */
    readonly minFreeSpace: number;
    readonly locked: LockedFile | undefined;
  }
  | PackedBatch
  /** Waits until the thread of the checkpoints has begun, and has opened the file: before a server listens. */
  | { readonly kind: "start" }
  /** Looks whether the database's files are in their places; if not, the answer comes after a {@link Loss}. */
  | { readonly kind: "check" }
  /**
   * Saves what was committed before a {@link Loss}; with `copy`, all of it in a new file of that name. Moves the files
   * that are useless then, and would spoil another database, out of its place: their names end in `aside` then.
   */
  | { readonly kind: "rescue"; readonly copy: string | undefined; readonly aside: string }
  | { readonly kind: "close" };

/** What became of a batch's calls; of none, if it was another request (of a rescue: what is wrong with the copy). */
export interface WorkerReply {
  /** Of all the changes first, then of the reads: of one at least, and as many as there was time for. */
  readonly results: readonly unknown[];
  /** What the calls threw that have no result, by their place among the results. */
  readonly failures: ReadonlyMap<number, unknown>;
}

/** A request that could not be carried out, or not be answered, as a whole: no call of it may count as done. */
export interface WorkerFailure {
  readonly error: unknown;
}
