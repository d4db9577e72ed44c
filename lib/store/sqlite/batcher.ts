/**
 * Group commit: while the thread that holds the database is busy with one batch of calls, the next one gathers.
 * So the cost of a commit is shared by all that came in the meantime, and nothing waits for a timer.
 */
import { type StoreLimits, StoreUnavailable } from "../store.ts";
import {
  type Answer,
  type Arguments,
  type Attach,
  type Call,
  type ChangeName,
  type Failure,
  type Locked,
  type Loss,
  pack,
  type ReadName,
  type Request,
  type Result,
} from "./calls.ts";
import { LostError } from "./lost_error.ts";
import type { Space } from "./free_space.ts";
import { Queue, type Waiting } from "./queue.ts";

/** Changes in one batch: enough to make a commit's cost per change vanish, and done in about a tenth of a second. */
const CHANGES_PER_BATCH = 4_096;

/** Reads in one batch: fewer, since one can bring a page of many messages, and all answers are in memory at once. */
const READS_PER_BATCH = 256;

/** A way to the thread that holds the database: the worker itself, or a port of which it has the other end. */
export type Thread = Worker | MessagePort;

/** Puts calls together into batches for a thread that answers each {@link Request}, in order. */
export class Batcher {
  /** Fulfilled, with the reason, if the worker dies; every call is rejected from then on. Ports don't tell. */
  readonly failed: Promise<Error>;
  /**
   * Fulfilled, with the reason, if the database's files are removed, moved or replaced; every call is rejected from
   * then on. What was committed can be saved: see {@link Batcher.rescue}. Ports don't tell.
   */
  readonly lost: Promise<LostError>;

  /** Told when the disk has little room, and when it has more again. Ports don't tell. */
  onSpace: (space: Space) => void = () => {};

  readonly #thread: Thread;
  readonly #changes = new Queue<Call<ChangeName>>(CHANGES_PER_BATCH);
  readonly #reads = new Queue<Call<ReadName>>(READS_PER_BATCH);
  #running: Promise<void> | undefined;
  #answered: PromiseWithResolvers<Answer> | undefined; // of the request under way
  #controlled: Promise<void> | undefined; // the last request that is no batch
  #closed: StoreUnavailable | undefined; // why no more calls are taken
  #dead: Error | undefined; // what the worker died of

  constructor(thread: Thread) {
    this.#thread = thread;
    const { promise, resolve } = Promise.withResolvers<Error>();
    this.failed = promise;
    const lost = Promise.withResolvers<LostError>();
    this.lost = lost.promise;
    thread.onmessage = ({ data }: MessageEvent<Answer | Failure | Loss | Space>) => {
      if ("space" in data) this.onSpace(data);
      else if ("lost" in data) {
        const error = new LostError(data.lost);
        this.#closed = unavailable(error);
        lost.resolve(error);
      } else if ("error" in data) this.#answered?.reject(data.error);
      else this.#answered?.resolve(data);
    };
    if (thread instanceof MessagePort) return;
    thread.onerror = (event) => {
      event.preventDefault(); // else it would end this thread too
      const error = new Error(`the database's thread died: ${event.message}`);
      this.#dead = error;
      this.#closed = unavailable(error);
      this.#answered?.reject(error);
      resolve(error);
    };
  }

  /** Opens the database. Rejects, with an Error of one line, if that can't be done. */
  async open(file: string, limits: StoreLimits, locked?: Locked, minFreeSpace = 0): Promise<void> {
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
   * Saves what was committed before the files were lost; see {@link Request}. Rejects if that can't be done. Fulfilled with
   * what is wrong, if a copy was made and lacks something.
   */
  async rescue(aside: string, copy?: string): Promise<string | undefined> {
    const { results } = await this.#control({ kind: "rescue", copy, aside });
    return results[0] as string | undefined;
  }

  /** Calls a method that changes something: it is fulfilled when that is committed. */
  change<N extends ChangeName>(name: N, ...args: Arguments<N>): Promise<Result<N>> {
    return this.#enqueue(this.#changes, [name, ...args] as unknown as Call<ChangeName>);
  }

  /** Calls a method that only looks: it sees at least what was committed before. */
  read<N extends ReadName>(name: N, ...args: Arguments<N>): Promise<Result<N>> {
    return this.#enqueue(this.#reads, [name, ...args] as unknown as Call<ReadName>);
  }

  /** Has the thread serve the other end of the port as well. */
  attach(port: MessagePort): void {
    const request: Attach = { kind: "attach", port };
    this.#thread.postMessage(request, [port]);
  }

  /** Takes no more calls, and waits for those there are. */
  async finish(): Promise<void> {
    this.#closed ??= new StoreUnavailable("the database is closed");
    await this.#running;
  }

  /** Does the same, and then closes the database for all that use it. */
  async close(): Promise<void> {
    await this.finish();
    await this.#control({ kind: "close" }).catch(() => {}); // a dead worker holds nothing any more
  }

  #enqueue<C extends Call<ChangeName | ReadName>, R>(queue: Queue<C>, call: C): Promise<R> {
    if (this.#closed) return Promise.reject(this.#closed);
    return new Promise<R>((resolve, reject) => {
      queue.add({ call, resolve: resolve as (result: unknown) => void, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    await undefined; // so that all calls of one turn go together
    while (!this.#changes.empty || !this.#reads.empty) {
      const changes = this.#changes.take();
      const reads = this.#reads.take();
      try {
        const answer = await this.#ask({
          kind: "batch",
          changes: pack(changes.map(({ call }) => call)),
          reads: pack(reads.map(({ call }) => call)),
        });
        this.#reads.putBack(reads.splice(answer.results.length - changes.length)); // those there was no time for
        settle([...changes, ...reads], answer);
      } catch (error) {
        for (const { reject } of [...changes, ...reads]) reject(unavailable(error));
      }
    }
    this.#running = undefined;
  }

  /** Asks for something else than a batch, when nothing else is under way. */
  #control(request: Exclude<Request, { kind: "batch" }>): Promise<Answer> {
    const before = this.#controlled;
    const answer = (async () => {
      await before;
      await this.#running;
      return await this.#ask(request);
    })();
    this.#controlled = answer.then(() => {}, () => {});
    return answer;
  }

  #ask(request: Request): Promise<Answer> {
    if (this.#dead) return Promise.reject(this.#dead);
    this.#answered = Promise.withResolvers();
    this.#thread.postMessage(request);
    return this.#answered.promise;
  }
}

function settle(calls: readonly Waiting<unknown>[], { results, failures }: Answer): void {
  for (const [i, { resolve, reject }] of calls.entries()) {
    if (failures.has(i)) reject(unavailable(failures.get(i)));
    else resolve(results[i]);
  }
}

function unavailable(cause: unknown): StoreUnavailable {
  return new StoreUnavailable(`the database gave up: ${(cause as Error).message}`, { cause });
}
