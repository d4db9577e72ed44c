/** Background work that is retried until it succeeds. */
import { describeError, type Log } from "../../log.ts";

/**
 * Milliseconds until work that failed is tried again, so that an unavailable store or bus is not asked more
 * often.
 */
export const RETRY_MS = 1_000;

/** Work that can become due at any time. At most one run is in progress. */
export class BackgroundTask {
  readonly #name: string;
  readonly #work: () => Promise<void>;
  readonly #log: Log;
  #isDue = false;
  #isFailing = false;
  #running: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** `name` is a gerund phrase for the log, such as "hashing passwords". */
  constructor(name: string, work: () => Promise<void>, log: Log) {
    this.#name = name;
    this.#work = work;
    this.#log = log;
  }

  /** Whether the last run failed. */
  get isFailing(): boolean {
    return this.#isFailing;
  }

  /** Whether a run is scheduled for later. */
  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /**
   * Runs the work in `delayMs`, in place of a run that was scheduled before. A run in progress is followed by
   * another.
   */
  schedule(delayMs = 0): void {
    this.#isDue = true;
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = delayMs > 0 ? setTimeout(() => this.schedule(), delayMs) : undefined;
    if (this.#timer !== undefined) return;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#isDue && this.#timer === undefined) this.schedule();
    });
  }

  /** Cancels the run that is scheduled. A run in progress goes on. */
  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isDue = false;
  }

  /** Starts a run unless one is in progress. Resolves at the end of the run; never rejects. */
  async run(): Promise<void> {
    if (!this.#running) this.schedule();
    await this.#running;
  }

  /** Resolves at the end of the run in progress, if there is one. */
  async finished(): Promise<void> {
    await this.#running;
  }

  /** Starts no further run. Resolves at the end of the run in progress. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    this.#isDue = false;
    try {
      await this.#work();
      if (this.#isFailing) this.#log.info(`${this.#name} succeeded after a retry`);
      this.#isFailing = false;
    } catch (error) {
      if (!this.#isFailing) {
        this.#log.warn(`${this.#name} failed and is retried`, { error: describeError(error) });
      }
      this.#isFailing = true;
      this.schedule(RETRY_MS);
    }
  }
}
