/** Something that has to be done sooner or later: it is tried again until it succeeds. */
import { describeError, type Log } from "../../log.ts";

// ms until it is tried again: a store or a bus that is away is not asked more often than that
const RETRY_MS = 1_000;

/** A piece of work that may fall due at any time; it is never under way twice at once. */
export class BackgroundTask {
  readonly #name: string;
  readonly #work: () => Promise<void>;
  readonly #log: Log;
  #isDue = false;
  #failing = false;
  #running: Promise<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** `name` is for the log. */
  constructor(name: string, work: () => Promise<void>, log: Log) {
    this.#name = name;
    this.#work = work;
    this.#log = log;
  }

  /** It is to be done in `after` ms; once more, if it is being done already. */
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

  /** It need not be done any more. Resolves when it isn't being done. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isDue && !this.#stopped) {
      this.#isDue = false;
      try {
        await this.#work();
        if (this.#failing) this.#log.info(`${this.#name} is done`);
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) this.#log.warn(`${this.#name} has to wait`, { why: describeError(error) });
        this.#failing = true;
        this.#isDue = true;
        if (!this.#stopped) this.#timer = setTimeout(() => this.schedule(), RETRY_MS);
        return;
      }
    }
  }
}
