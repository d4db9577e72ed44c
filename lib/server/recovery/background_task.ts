/** Something that has to be done sooner or later: it is tried again until it succeeds. */
import { describe, type Log } from "../../log.ts";

// ms until it is tried again: a store or a bus that is away is not asked more often than that
const RETRY = 1_000;

/** A piece of work that may fall due at any time; it is never under way twice at once. */
export class Duty {
  readonly #name: string;
  readonly #work: () => Promise<void>;
  readonly #log: Log;
  #due = false;
  #failing = false;
  #running: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** `name` is for the log. */
  constructor(name: string, work: () => Promise<void>, log: Log) {
    this.#name = name;
    this.#work = work;
    this.#log = log;
  }

  /** It is to be done in `after` ms; once more, if it is being done already. */
  fallDue(after = 0): void {
    this.#due = true;
    if (this.#stopped) return;
    clearTimeout(this.#retry);
    this.#retry = after > 0 ? setTimeout(() => this.fallDue(), after) : undefined;
    if (this.#retry !== undefined) return;
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
        if (this.#failing) this.#log.info(`${this.#name} is done`);
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) this.#log.warn(`${this.#name} has to wait`, { why: describe(error) });
        this.#failing = true;
        this.#due = true;
        if (!this.#stopped) this.#retry = setTimeout(() => this.fallDue(), RETRY);
        return;
      }
    }
  }
}
