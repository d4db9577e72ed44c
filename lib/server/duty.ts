/** Something that has to be done sooner or later: it is tried again until it succeeds. */
import { describe, type Log } from "../log.ts";

const RETRY = 1_000; // ms until it is tried again: a store or a bus that is away is not asked more often than that

/** A piece of work that may fall due at any time; it is never under way twice at once. */
export class Duty {
  readonly #name: string;
  readonly #work: () => Promise<void>;
  readonly #log: Log;
  #due = false;
  #running: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** `name` is for the log. */
  constructor(name: string, work: () => Promise<void>, log: Log) {
    this.#name = name;
    this.#work = work;
    this.#log = log;
  }

  /** It is to be done now; once more, if it is being done already. */
  fallDue(): void {
    this.#due = true;
    if (this.#stopped) return;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      if (this.#due && this.#retry === undefined) this.fallDue();
    });
  }

  /** It need not be done any more. Resolves when it isn't being done. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#due && !this.#stopped) {
      this.#due = false;
      try {
        await this.#work();
      } catch (error) {
        this.#log.warn(`${this.#name} failed; trying again`, { why: describe(error) });
        this.#due = true;
        if (!this.#stopped) this.#retry = setTimeout(() => this.fallDue(), RETRY);
        return;
      }
    }
  }
}
