/** When the write-ahead log is copied into the database file: beside the commits, as long as there are any. */
import type { DatabaseSync } from "node:sqlite";

/** To the thread that copies. Each is answered, in order. */
export type CheckpointOrder = { readonly kind: "copy"; readonly file: string } | { readonly kind: "close" };

/** From that thread: once, that it takes orders; then its answers. `pages` is how many the log holds. */
export type CheckpointAnswer =
  | { readonly kind: "ready" }
  | { readonly kind: "done"; readonly pages: number }
  | {
    readonly kind: "closed";
  };

/**
 * Milliseconds between two copies. A commit must wait while the disk takes what was copied, so that many small ones
 * are better than few large ones: after a second of a busy node a commit waited for 100 ms.
 */
const EVERY = 20;

/** Milliseconds after the opening until the first: a database that is only open for a moment needs no thread for it. */
const FIRST = 1_000;

/** Pages of 4 KiB after which the log is begun anew: a file that grows costs more to write to than one that is used again. */
const ANEW_AFTER = 1_000;

/**
 * The log can be begun anew when all of it has been copied, and while commits go on that is only so if the committing
 * thread copies the rest itself. So much is copied beside it first, each time only what was committed meanwhile: until
 * a copy took so few milliseconds, or so many were made.
 */
const SHORT = 8;
const COPIES = 3;

const MODULE = new URL("./checkpoint_worker.ts", import.meta.url);

/** The checkpoints of one database file. */
export class Checkpoints {
  readonly #file: string;
  readonly #module: URL;
  #worker: Worker | undefined;
  readonly #copyLast: () => void;
  #last = performance.now() + FIRST - EVERY; // when one was begun
  #isCopying = false;
  #isReady = false;
  #copies = 0; // since there was reason to begin anew
  #isDead = false;
  #closed: (() => void) | undefined;

  /** For the thread that holds the database open as `db`; `module` is what the other one runs. */
  constructor(file: string, db: DatabaseSync, module: URL = MODULE) {
    this.#file = file;
    this.#module = module;
    const rest = db.prepare("PRAGMA wal_checkpoint(PASSIVE)");
    this.#copyLast = () => void rest.get();
  }

  /**
   * Begins the thread now. It opens the file when there is something to copy: until then the file could be replaced
   * without the store's noticing it. The call does not wait for the thread. The runtime takes a second for one that
   * does not belong to the main thread.
   */
  start(): void {
    this.#worker ??= this.#start();
  }

  /** Something was committed: call it between transactions. */
  committed(): void {
    if (this.#isCopying || this.#closed || performance.now() - this.#last < EVERY) return;
    this.#copy();
  }

  /**
   * Ends the thread, which lets go of the file. A thread that is still starting has no order, and so has not opened
   * the file: the runtime takes a second to start one from another thread, which is not waited for.
   */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#closed = resolve);
    if (!this.#worker || this.#isDead) return;
    if (this.#isReady) {
      this.#worker.postMessage({ kind: "close" } satisfies CheckpointOrder);
      await closed;
    }
    this.#worker.terminate();
  }

  #answered(answer: CheckpointAnswer): void {
    if (answer.kind === "closed") this.#closed?.();
    else if (answer.kind === "ready") {
      this.#isReady = true;
      if (this.#isCopying) this.#order();
    } else {
      this.#isCopying = false;
      if (answer.pages < ANEW_AFTER || this.#closed) return;
      if (performance.now() - this.#last >= SHORT && ++this.#copies < COPIES) this.#copy();
      else {
        this.#copies = 0;
        this.#copyLast();
      }
    }
  }

  #copy(): void {
    this.#last = performance.now();
    this.#isCopying = true;
    this.start();
    if (this.#isReady) this.#order();
  }

  #order(): void {
    this.#worker!.postMessage({ kind: "copy", file: this.#file } satisfies CheckpointOrder);
  }

  #start(): Worker {
    const worker = new Worker(this.#module, { type: "module", name: "checkpoint" });
    worker.onerror = (event) => {
      event.preventDefault(); // the committing thread, which goes on, copies from now on: less often, and more at once
      this.#isDead = true;
      this.#closed?.();
    };
    worker.onmessage = ({ data }: MessageEvent<CheckpointAnswer>) => this.#answered(data);
    return worker;
  }
}
