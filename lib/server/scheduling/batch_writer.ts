/** Write-behind: collects small writes and sends them to the store in batches. */
import type { Log } from "../../log.ts";
import { BackgroundTask, RETRY_MS } from "./background_task.ts";

/** Entries per call of the store: commits of other requests queue behind a call. */
const BATCH_SIZE = 1_000;

/** A value of a user under a key. A higher value replaces a lower one of the same user and key. */
export interface BatchEntry {
  readonly user: number;
  readonly key: number;
  readonly value: number;
}

/** The parts in which batch writers differ. */
export interface BatchWriterOptions {
  /** A gerund phrase for the log, such as "storing cursors". */
  readonly name: string;
  readonly log: Log;
  /** The most entries that wait for an unavailable store. Beyond that the oldest is dropped. */
  readonly maxPending: number;
  /** Milliseconds that an entry waits for others; 0 collects the entries of one event-loop turn. */
  readonly delayMs: number;
  /** The number of waiting entries at which they are written without delay. */
  readonly flushThreshold: number;
  /**
   * Writes at most {@link BATCH_SIZE} entries. Rejects if the store refuses them; they are then written
   * again.
   */
  write(entries: readonly BatchEntry[]): Promise<void>;
}

/** Values by users and keys. */
type Entries = Map<number, Map<number, number>>;

/**
 * Entries on their way to the store. Writes that fail are retried; the log has one warning when they begin to
 * fail.
 */
export class BatchWriter {
  readonly #options: BatchWriterOptions;
  readonly #task: BackgroundTask;
  #pending: Entries = new Map();
  #pendingCount = 0;
  #inFlight: Entries = new Map();
  #generation = 0; // counts the calls of clear

  constructor(options: BatchWriterOptions) {
    this.#options = options;
    this.#task = new BackgroundTask(options.name, () => this.#writePending(), options.log);
  }

  /** Adds an entry. Does nothing if a value at least as high waits already. */
  put(user: number, key: number, value: number): void {
    if (!this.#record(user, key, value)) return;
    const { flushThreshold, delayMs } = this.#options;
    const { isFailing, isWaiting } = this.#task;
    if (this.#pendingCount >= flushThreshold && !isFailing) this.#task.schedule();
    else if (!isWaiting) this.#task.schedule(isFailing ? RETRY_MS : delayMs);
  }

  /**
   * Resolves when the user's entries are written, or the store has refused them: after at most two writes.
   */
  async flushUser(user: number): Promise<void> {
    if (this.#inFlight.has(user) || this.#pending.has(user)) await this.#task.finished();
    if (this.#inFlight.has(user)) await this.#task.finished(); // the next write has begun for other users
    else if (this.#pending.has(user)) await this.#task.run();
  }

  /** Drops all entries, because the store has another history now. A write in flight is not retried. */
  clear(): void {
    this.#pending = new Map();
    this.#pendingCount = 0;
    this.#generation++;
  }

  /** Writes all entries, unless the store refuses them, and cancels further retries. Never rejects. */
  async flush(): Promise<void> {
    await this.#task.finished();
    do await this.#task.run(); while (this.#pendingCount > 0 && !this.#task.isFailing);
    this.#task.cancel();
  }

  /** Records a value; returns false if one at least as high waits already. */
  #record(user: number, key: number, value: number): boolean {
    let values = this.#pending.get(user);
    const earlier = values?.get(key);
    if (earlier !== undefined && earlier >= value) return false;
    if (!values) this.#pending.set(user, values = new Map());
    values.set(key, value);
    if (earlier !== undefined) return true;
    this.#pendingCount++;
    if (this.#pendingCount > this.#options.maxPending) this.#dropOldest();
    return true;
  }

  #dropOldest(): void {
    const [[user, values]] = this.#pending as unknown as [[number, Map<number, number>]];
    const [key] = values.keys();
    values.delete(key!);
    if (values.size === 0) this.#pending.delete(user);
    this.#pendingCount--;
  }

  async #writePending(): Promise<void> {
    await undefined; // the entries of one event-loop turn belong to one batch
    const generation = this.#generation;
    this.#inFlight = this.#pending;
    this.#pending = new Map();
    this.#pendingCount = 0;
    const entries = listEntries(this.#inFlight);
    let written = 0;
    try {
      for (; written < entries.length && generation === this.#generation; written += BATCH_SIZE) {
        await this.#options.write(entries.slice(written, written + BATCH_SIZE));
      }
    } catch (error) {
      if (generation === this.#generation) this.#restore(entries.slice(written));
      throw error;
    } finally {
      this.#inFlight = new Map();
    }
  }

  /** Puts entries that were refused before those that have been added since. */
  #restore(refused: readonly BatchEntry[]): void {
    const added = listEntries(this.#pending);
    this.#pending = new Map();
    this.#pendingCount = 0;
    for (const { user, key, value } of [...refused, ...added]) this.#record(user, key, value);
  }
}

function listEntries(entries: Entries): BatchEntry[] {
  return [...entries].flatMap(([user, values]) => [...values].map(([key, value]) => ({ user, key, value })));
}
