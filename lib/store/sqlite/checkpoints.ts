/** Schedules checkpoints: the copying of the write-ahead log into the database file, while commits go on. */
import type { DatabaseSync } from "node:sqlite";
import type { FileIdentity } from "./file_watch.ts";
import type { LatestCommit } from "./newest.ts";

/** A command to the checkpoint thread, which replies to each, in order. */
export type CheckpointCommand =
  | { readonly kind: "open"; readonly file: string; readonly identity: FileIdentity | undefined }
  | { readonly kind: "copy" }
  | { readonly kind: "verify"; readonly latestCommit: LatestCommit }
  | { readonly kind: "close" };

/** A message from the checkpoint thread: `ready` once, then the replies. `pages` is the log's size. */
export type CheckpointReply =
  | { readonly kind: "ready" }
  | { readonly kind: "opened" | "verified"; readonly error: string | undefined }
  | { readonly kind: "done"; readonly pages: number }
  | { readonly kind: "closed" };

/**
 * Interval of checkpoints. A commit waits while the disk writes a checkpoint. With an interval of one second,
 * a commit on a busy node waited 100 ms.
 */
const COPY_INTERVAL_MS = 20;

/** Size of the log, in pages of 4 KiB, at which it restarts: writing is slower in a file that grows. */
const MAX_LOG_PAGES = 1_000;

/**
 * SQLite restarts the log when all of it is copied. While commits go on, the database thread itself must copy
 * the rest. The checkpoint thread first repeats its copy until one is this short, so that the rest is small.
 */
const SHORT_COPY_MS = 8;

/** Maximum number of such copies, for a disk on which no copy is short. */
const MAX_COPIES = 3;

const WORKER_MODULE = new URL("./checkpoint_worker.ts", import.meta.url);

/** The checkpoints of one database file. */
export class Checkpoints {
  readonly #worker: Worker;
  readonly #copyRest: () => void;
  #lastCopyAt = 0; // the start of the last copy, by performance.now()
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isCopying = false;
  #copying: Promise<void> | undefined; // the copy in progress
  #isDue = false; // whether something was committed since that copy began
  #isPaused = false;
  #copies = 0; // since the log exceeded MAX_LOG_PAGES
  readonly #ready: Promise<void>; // the thread accepts commands, or is dead
  #opening: Promise<unknown> | undefined;
  #isOpen = false;
  #isDead = false;
  /** Called with the reply to the last command, or with undefined if the thread dies. */
  #onReply: ((reply: CheckpointReply | undefined) => void) | undefined;

  /** Starts the checkpoint thread of the open database `db`. Tests set `module`. */
  constructor(db: DatabaseSync, module: URL = WORKER_MODULE) {
    const rest = db.prepare("PRAGMA wal_checkpoint(PASSIVE)");
    this.#copyRest = () => {
      try {
        rest.get();
      } catch {
        // All commits are in the log, and a later copy repeats the attempt.
      }
    };
    this.#worker = new Worker(module, { type: "module", name: "checkpoint" });
    this.#worker.onerror = (event) => {
      event.preventDefault(); // SQLite's checkpoints in the database thread continue: fewer and larger
      this.#isDead = true;
      this.#onReply?.(undefined);
    };
    this.#worker.onmessage = ({ data }: MessageEvent<CheckpointReply>) => {
      this.#onReply?.(data);
    };
    this.#ready = new Promise((resolve) => this.#onReply = () => resolve());
  }

  /**
   * Makes the thread open the file once it has started, which takes a second for a worker of a worker. If the
   * file has another identity, the thread does not open it, and no copies follow.
   */
  async open(file: string, identity?: FileIdentity): Promise<void> {
    await this.#ready;
    if (this.#isPaused) return; // close() may have run
    const opening = this.#send({ kind: "open", file, identity });
    this.#opening = opening;
    const reply = await opening;
    this.#isOpen = reply?.kind === "opened" && reply.error === undefined;
    if (!this.#isOpen) this.#isDead = true;
    else if (this.#isDue) this.onCommit();
  }

  /** Schedules a checkpoint after a commit. Call it between transactions. */
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

  /** Stops further copies, and waits for the one in progress. */
  async pause(): Promise<void> {
    this.#isPaused = true;
    clearTimeout(this.#timer);
    await this.#copying;
  }

  /**
   * Makes the thread read the file, of which it has no pages in memory. Rejects if the file is damaged,
   * incomplete or not readable. Call {@link pause} before.
   */
  async verify(latestCommit: LatestCommit): Promise<void> {
    await this.#opening;
    if (!this.#isOpen) throw new Error("the checkpoint thread is not running");
    const reply = await this.#send({ kind: "verify", latestCommit });
    if (reply?.kind !== "verified") throw new Error("the checkpoint thread is not running");
    if (reply.error !== undefined) throw new Error(reply.error);
  }

  /** Closes the thread's file and ends the thread, also one that has not started yet. */
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
    const reply = await this.#send({ kind: "copy" });
    if (reply?.kind !== "done" || reply.pages < MAX_LOG_PAGES || this.#isPaused) return;
    if (performance.now() - this.#lastCopyAt >= SHORT_COPY_MS && ++this.#copies < MAX_COPIES) {
      return await this.#copyOnce();
    }
    this.#copies = 0;
    this.#copyRest();
  }

  /** Sends a command, one at a time. Returns undefined if the thread is dead. */
  #send(command: CheckpointCommand): Promise<CheckpointReply | undefined> {
    if (this.#isDead) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#onReply = resolve;
      this.#worker.postMessage(command);
    });
  }
}
