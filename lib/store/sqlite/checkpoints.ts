/** When the write-ahead log is copied into the database file: beside the commits, as long as there are any. */
import type { DatabaseSync } from "node:sqlite";
import type { FileIdentity } from "./file_watch.ts";
import type { LatestCommit } from "./newest.ts";

/** To the thread that copies. Each is answered, in order. */
export type CheckpointCommand =
  | { readonly kind: "open"; readonly file: string; readonly identity: FileIdentity | undefined }
  | { readonly kind: "copy" }
  | { readonly kind: "verify"; readonly latestCommit: LatestCommit }
  | { readonly kind: "close" };

/** From that thread: once, that it takes orders; then its answers. `pages` is how many the log holds. */
export type CheckpointReply =
  | { readonly kind: "ready" }
  | { readonly kind: "opened" | "verified"; readonly error: string | undefined }
  | { readonly kind: "done"; readonly pages: number }
  | { readonly kind: "closed" };

/**
 * Milliseconds between two copies. A commit must wait while the disk takes what was copied, so that many small ones
 * are better than few large ones: after a second of a busy node a commit waited for 100 ms.
 */
const COPY_INTERVAL_MS = 20;

/** Pages of 4 KiB after which the log is begun anew: a file that grows costs more to write to than one that is used again. */
const MAX_LOG_PAGES = 1_000;

/**
 * The log can be begun anew when all of it has been copied, and while commits go on that is only so if the committing
 * thread copies the rest itself. So much is copied beside it first, each time only what was committed meanwhile: until
 * a copy took so few milliseconds, or so many were made.
 */
const SHORT_COPY_MS = 8;
const MAX_COPIES = 3;

const WORKER_MODULE = new URL("./checkpoint_worker.ts", import.meta.url);

/** The checkpoints of one database file. */
export class Checkpoints {
  readonly #worker: Worker;
  readonly #copyRest: () => void;
  #lastCopyAt = 0; // when one was begun
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isCopying = false;
  #copying: Promise<void> | undefined; // the copy under way
  #isDue = false; // something was committed since the copy under way was begun
  #isPaused = false;
  #copies = 0; // since there was reason to begin anew
  readonly #ready: Promise<void>; // the thread takes orders, or is dead
  #opening: Promise<unknown> | undefined;
  #isOpen = false;
  #isDead = false;
  /** For the answer to an order; undefined is told if the thread is dead. */
  #onReply: ((answer: CheckpointReply | undefined) => void) | undefined;

  /** For the thread that holds the database open as `db`; `module` is what the other one runs. */
  constructor(db: DatabaseSync, module: URL = WORKER_MODULE) {
    const rest = db.prepare("PRAGMA wal_checkpoint(PASSIVE)");
    this.#copyRest = () => void rest.get();
    this.#worker = new Worker(module, { type: "module", name: "checkpoint" });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // the committing thread, which goes on, copies from now on: less often, and more at once
      this.#isDead = true;
      this.#onReply?.(undefined);
    };
    this.#worker.onmessage = ({ data }: MessageEvent<CheckpointReply>) => {
      this.#onReply?.(data);
    };
    this.#ready = new Promise((resolve) => this.#onReply = () => resolve());
  }

  /**
   * Has the thread open the file as soon as it has begun: the runtime takes a second for one that does not belong to the
   * main thread. The thread opens no other file than that of this identity: then, as if it were dead, it copies nothing.
   */
  async open(file: string, identity?: FileIdentity): Promise<void> {
    await this.#ready;
    if (this.#isPaused) return; // and may be closed
    const opening = this.#send({ kind: "open", file, identity });
    this.#opening = opening;
    const answer = await opening;
    this.#isOpen = answer?.kind === "opened" && answer.error === undefined;
    if (!this.#isOpen) this.#isDead = true;
    else if (this.#isDue) this.onCommit();
  }

  /** Something was committed: call it between transactions. It is in the file soon, also if nothing follows. */
  onCommit(): void {
    if (this.#isPaused || this.#isDead || this.#timer !== undefined) return;
    if (this.#isCopying || !this.#isOpen) {
      this.#isDue = true;
      return;
    }
    const wait = this.#lastCopyAt + COPY_INTERVAL_MS - performance.now();
    if (wait <= 0) return void this.#copy();
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.onCommit();
    }, wait);
  }

  /** Begins no more copies, and waits for the one under way. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    clearTimeout(this.#timer);
    await this.#copying;
  }

  /**
   * Has the thread read the file, of which it holds no page in memory. Rejects if the file is damaged, lacks the newest,
   * or can't be read. Pause before.
   */
  async verify(latestCommit: LatestCommit): Promise<void> {
    await this.#opening;
    if (!this.#isOpen) throw new Error("there is no thread to read it");
    const answer = await this.#send({ kind: "verify", latestCommit });
    if (answer?.kind !== "verified") throw new Error("there is no thread to read it");
    if (answer.error !== undefined) throw new Error(answer.error);
  }

  /** Ends the thread, which lets go of the file. One that has not begun yet is not waited for. */
  async close(): Promise<void> {
    await this.pause();
    await this.#opening;
    if (this.#isOpen) await this.#send({ kind: "close" });
    this.#worker.terminate();
  }

  #copy(): void {
    this.#isCopying = true;
    this.#copying = this.#copyOnce().finally(() => {
      this.#isCopying = false;
      this.#copying = undefined;
      if (!this.#isDue) return;
      this.#isDue = false;
      this.onCommit();
    });
  }

  async #copyOnce(): Promise<void> {
    this.#isDue = false;
    this.#lastCopyAt = performance.now();
    const answer = await this.#send({ kind: "copy" });
    if (answer?.kind !== "done" || answer.pages < MAX_LOG_PAGES || this.#isPaused) return;
    if (performance.now() - this.#lastCopyAt >= SHORT_COPY_MS && ++this.#copies < MAX_COPIES) {
      return await this.#copyOnce();
    }
    this.#copies = 0;
    this.#copyRest();
  }

  /** One order at a time. Gives undefined if the thread is dead. */
  #send(command: CheckpointCommand): Promise<CheckpointReply | undefined> {
    if (this.#isDead) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#onReply = resolve;
      this.#worker.postMessage(command);
    });
  }
}
