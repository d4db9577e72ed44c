/**
 * Group commit: while the thread that holds the database is busy with one batch of calls, the next one gathers.
 * So the cost of a commit is shared by all that came in the meantime, and nothing waits for a timer.
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

/** Changes in one batch: enough to make a commit's cost per change vanish, and done in about a tenth of a second. */
const MAX_CHANGES_PER_BATCH = 4_096;

/** Reads in one batch: fewer, since one can bring a page of many messages, and all answers are in memory at once. */
const MAX_READS_PER_BATCH = 256;

/** A way to the thread that holds the database: the worker itself, or a port of which it has the other end. */
export type DatabaseThread = Worker | MessagePort;

/** Puts calls together into batches for a thread that answers each {@link WorkerRequest}, in order. */
export class Batcher {
  /** Fulfilled, with the reason, if the worker dies; every call is rejected from then on. Ports don't tell. */
  readonly failed: Promise<Error>;
  /**
   * Fulfilled, with the reason, if the database's files are removed, moved or replaced; every call is rejected from
   * then on. What was committed can be saved: see {@link Batcher.rescue}. Ports don't tell.
   */
  readonly lost: Promise<DatabaseLostError>;

  /** Told when the disk has little room, and when it has more again. Ports don't tell. */
  onDiskSpace: (space: DiskSpace) => void = () => {};

  readonly #thread: DatabaseThread;
  readonly #changes = new CallQueue(MAX_CHANGES_PER_BATCH);
  readonly #reads = new CallQueue(MAX_READS_PER_BATCH);
  #running: Promise<void> | undefined;
  #reply: PromiseWithResolvers<WorkerReply> | undefined; // of the request under way
  #lastControl: Promise<void> | undefined; // the last request that is no batch
  #closedError: StoreUnavailableError | undefined; // why no more calls are taken
  #threadError: Error | undefined; // what the worker died of

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
      event.preventDefault(); // else it would end this thread too
      const error = new Error(`the database's thread died: ${event.message}`);
      this.#threadError = error;
      this.#closedError = toUnavailableError(error);
      this.#reply?.reject(error);
      resolve(error);
    };
  }

  /** Opens the database. Rejects, with an Error of one line, if that can't be done. */
  async open(file: string, limits: StoreLimits, locked?: LockedFile, minFreeSpace = 0): Promise<void> {
    await this.#control({ kind: "open", file, limits, minFreeSpace, locked });
  }

  /** Waits until the thread that copies the write-ahead log has begun, and has opened the file. */
  async start(): Promise<void> {
    await this.#control({ kind: "start" });
  }

  /** Looks whether the database's files are in their places: if not, `lost` is fulfilled before this is. */
  async check(): Promise<void> {
    await this.#control({ kind: "check" });
  }

  /**
   * Saves what was committed before the files were lost; see {@link WorkerRequest}. Rejects if that can't be done. Fulfilled with
   * what is wrong, if a copy was made and lacks something.
   */
  async rescue(aside: string, copy?: string): Promise<string | undefined> {
    const { results } = await this.#control({ kind: "rescue", copy, aside });
    return results[0] as string | undefined;
  }

  /** Calls an operation. A change is fulfilled once it is committed; a read sees all that was committed before it. */
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

  /** Has the thread serve the other end of the port as well. */
  attach(port: MessagePort): void {
    const request: Attach = { kind: "attach", port };
    this.#thread.postMessage(request, [port]);
  }

  /** Takes no more calls, and waits for those there are. */
  async drain(): Promise<void> {
    this.#closedError ??= new StoreUnavailableError("the database is closed");
    await this.#running;
  }

  /** Does the same, and then closes the database for all that use it. */
  async close(): Promise<void> {
    await this.drain();
    await this.#control({ kind: "close" }).catch(() => {}); // a dead worker holds nothing any more
  }

  async #run(): Promise<void> {
    await undefined; // so that all calls of one turn go together
    while (!this.#changes.isEmpty || !this.#reads.isEmpty) {
      const changes = this.#changes.take();
      const reads = this.#reads.take();
      try {
        const answer = await this.#request({
          kind: "batch",
          changes: pack(changes.map(({ call }) => call)),
          reads: pack(reads.map(({ call }) => call)),
        });
        this.#reads.putBack(reads.splice(answer.results.length - changes.length)); // those there was no time for
        settleCalls([...changes, ...reads], answer);
      } catch (error) {
        for (const { reject } of [...changes, ...reads]) reject(toUnavailableError(error));
      }
    }
    this.#running = undefined;
  }

  /** Asks for something else than a batch, when nothing else is under way. */
  #control(request: Exclude<WorkerRequest, { kind: "batch" }>): Promise<WorkerReply> {
    const before = this.#lastControl;
    const answer = (async () => {
      await before;
      await this.#running;
      return await this.#request(request);
    })();
    this.#lastControl = answer.then(() => {}, () => {});
    return answer;
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
  return new StoreUnavailableError(`the database gave up: ${(cause as Error).message}`, { cause });
}
