/**
 * Group commit: calls that arrive while the database thread runs one batch form the next batch. They share
 * the cost of one commit, and none of them waits for a timer.
 */
import { type StoreLimits, StoreUnavailableError } from "../store.ts";
import {
  type Attach,
  type FileLoss,
  type LockedFile,
  pack,
  type WorkerFailure,
  type WorkerReply,
  type WorkerRequest,
} from "./calls.ts";
import { DatabaseLostError } from "./lost_error.ts";
import type { DiskSpace } from "./free_space.ts";
import {
  type CallArguments,
  type CallResult,
  type OperationName,
  OPERATIONS,
  type StoreCall,
} from "./operations.ts";
import { CallQueue, type PendingCall } from "./queue.ts";

/** Enough to make a commit's cost per change negligible; such a batch takes about 100 ms. */
const MAX_CHANGES_PER_BATCH = 4_096;

/** Fewer than changes: a read can return a page of many messages, and all results are in memory at once. */
const MAX_READS_PER_BATCH = 256;

/** The database thread: its worker, or a port to it. */
export type DatabaseThread = Worker | MessagePort;

/** Combines calls into batches for the database thread, which replies to each request in order. */
export class Batcher {
  /** Fulfilled with the error if the worker dies, after which all calls are rejected. Never on a port. */
  readonly failed: Promise<Error>;
  /**
   * Fulfilled with the error if the database's files are removed, moved, replaced or truncated. All calls are
   * rejected from then on. {@link Batcher.rescue} saves the committed data. Pending forever on a port.
   */
  readonly lost: Promise<DatabaseLostError>;

  /** Called when the disk's free space falls below the limit or rises above it. Never called on a port. */
  onDiskSpace: (space: DiskSpace) => void = () => {};

  readonly #thread: DatabaseThread;
  readonly #changes = new CallQueue(MAX_CHANGES_PER_BATCH);
  readonly #reads = new CallQueue(MAX_READS_PER_BATCH);
  #running: Promise<void> | undefined;
  #reply: PromiseWithResolvers<WorkerReply> | undefined; // of the request in progress
  #lastControl: Promise<void> | undefined; // the end of the last request that is not a batch
  #closedError: StoreUnavailableError | undefined; // the error of all further calls
  #threadError: Error | undefined; // the error that ended the worker

  constructor(thread: DatabaseThread) {
    this.#thread = thread;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    const lost = Promise.withResolvers<DatabaseLostError>();
    this.lost = lost.promise;
    thread.onmessage = ({ data }: MessageEvent<WorkerReply | WorkerFailure | FileLoss | DiskSpace>) => {
      if ("space" in data) this.onDiskSpace(data);
      else if ("lost" in data) {
        const error = new DatabaseLostError(data.lost);
        this.#closedError = toUnavailableError(error);
        lost.resolve(error);
      } else if ("error" in data) this.#reply?.reject(data.error);
      else this.#reply?.resolve(data);
    };
    if (thread instanceof MessagePort) return;
    thread.onerror = (event) => {
      event.preventDefault(); // the default is to end this thread, too
      const error = new Error(`the database thread failed: ${event.message}`);
      this.#threadError = error;
      this.#closedError = toUnavailableError(error);
      this.#reply?.reject(error);
      resolve(error);
    };
  }

  /** Opens the database. Rejects with an Error of one line. */
  async open(file: string, limits: StoreLimits, locked?: LockedFile, minFreeSpace = 0): Promise<void> {
    await this.#control({ kind: "open", file, limits, minFreeSpace, locked });
  }

  /** Waits until the checkpoint thread has opened the file. */
  async start(): Promise<void> {
    await this.#control({ kind: "start" });
  }

  /** Checks the database's files. If they are lost, `lost` is fulfilled before the returned promise. */
  async check(): Promise<void> {
    await this.#control({ kind: "check" });
  }

  /**
   * Saves the data that was committed before the files were lost; see {@link WorkerRequest}. Returns the
   * defect of the copy if one was made and is incomplete. Rejects if the data cannot be saved.
   */
  async rescue(aside: string, copy?: string): Promise<string | undefined> {
    const { results } = await this.#control({ kind: "rescue", copy, aside });
    return results[0] as string | undefined;
  }

  /** Calls an operation. A change is fulfilled once it is committed; a read sees all earlier commits. */
  call<N extends OperationName>(...call: [name: N, ...args: CallArguments<N>]): Promise<CallResult<N>> {
    if (this.#closedError) return Promise.reject(this.#closedError);
    const queue = OPERATIONS[call[0]] === "change" ? this.#changes : this.#reads;
    return new Promise((resolve, reject) => {
      queue.add({
        call: call as unknown as StoreCall,
        resolve: resolve as (result: unknown) => void,
        reject,
      });
      this.#running ??= this.#run();
    });
  }

  /** Makes the database thread serve the port's other end, too. */
  attach(port: MessagePort): void {
    const request: Attach = { kind: "attach", port };
    this.#thread.postMessage(request, [port]);
  }

  /** Rejects all further calls, and waits for the earlier ones. */
  async drain(): Promise<void> {
    this.#closedError ??= new StoreUnavailableError("the database is closed");
    await this.#running;
  }

  /** Drains, and then closes the database for all threads that use it. */
  async close(): Promise<void> {
    await this.drain();
    await this.#control({ kind: "close" }).catch(() => {}); // the worker died
  }

  async #run(): Promise<void> {
    await undefined; // all calls of the same event-loop task go into one batch
    while (!this.#changes.isEmpty || !this.#reads.isEmpty) {
      const changes = this.#changes.take();
      const reads = this.#reads.take();
      try {
        const reply = await this.#request({
          kind: "batch",
          changes: pack(changes.map(({ call }) => call)),
          reads: pack(reads.map(({ call }) => call)),
        });
        this.#reads.putBack(reads.splice(reply.results.length - changes.length)); // beyond the read budget
        settleCalls([...changes, ...reads], reply);
      } catch (error) {
        for (const { reject } of [...changes, ...reads]) reject(toUnavailableError(error));
      }
    }
    this.#running = undefined;
  }

  /** Sends a request that is not a batch, once all earlier requests are done. */
  #control(request: Exclude<WorkerRequest, { kind: "batch" }>): Promise<WorkerReply> {
    const before = this.#lastControl;
    const reply = (async () => {
      await before;
      await this.#running;
      return await this.#request(request);
    })();
    this.#lastControl = reply.then(() => {}, () => {});
    return reply;
  }

  #request(request: WorkerRequest): Promise<WorkerReply> {
    if (this.#threadError) return Promise.reject(this.#threadError);
    this.#reply = Promise.withResolvers();
    this.#thread.postMessage(request);
    return this.#reply.promise;
  }
}

function settleCalls(calls: readonly PendingCall[], { results, failures }: WorkerReply): void {
  for (const [i, { resolve, reject }] of calls.entries()) {
    if (failures.has(i)) reject(toUnavailableError(failures.get(i)));
    else resolve(results[i]);
  }
}

function toUnavailableError(cause: unknown): StoreUnavailableError {
  return new StoreUnavailableError(`the database failed: ${(cause as Error).message}`, { cause });
}
