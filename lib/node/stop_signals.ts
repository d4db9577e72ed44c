/** SIGTERM and SIGINT: when the process is to leave in order, and when it is to end at once. */
import type { Log } from "../log.ts";

const EXIT_STOPPED = 0; // it was asked to end, and did
const EXIT_ABORTED = 1; // it ended without having closed everything

/** Milliseconds in which SIGINTs are one ^C: `deno task` sends on what its child has already had from the terminal. */
const DEBOUNCE_MS = 200;

/** A signal that asks a process to end. */
export type StopSignal = "SIGTERM" | "SIGINT";

/** What the signals mean here. */
export interface StopOptions {
  /** Milliseconds from the first signal in which another SIGTERM changes nothing: the time that an orderly end may take. */
  readonly graceMs: number;
  /** Whether a person at a terminal may press ^C twice, which means: at once. */
  readonly isTerminal: boolean;
  /** Ends the process. */
  readonly exit: (code: number) => void;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
}

/** The process's state between its start and its end, as far as signals go. */
export class StopSignals {
  /** Fulfilled at the first signal after {@link markStarted}. */
  readonly stopRequested: Promise<void>;
  readonly #log: Log;
  readonly #options: StopOptions;
  readonly #requestStop: () => void;
  #isStarted = false;
  #requestedAt: number | undefined;
  #presses = 0; // of ^C
  #pressedAt = -Infinity;

  constructor(log: Log, options: StopOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopRequested = promise;
    this.#requestStop = resolve;
    this.#log = log;
    this.#options = options;
  }

  /** Takes the process's signals, which would end it otherwise. */
  listen(): void {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, () => this.handle(signal));
    }
  }

  /** To be called when there is something to leave in order: until then a signal ends the start. */
  markStarted(): void {
    this.#isStarted = true;
  }

  /** Does what the signal asks for. */
  handle(signal: StopSignal): void {
    const { exit, graceMs, isTerminal, now } = this.#options;
    const receivedAt = now();
    const isPress = signal === "SIGINT" && isTerminal && receivedAt - this.#pressedAt >= DEBOUNCE_MS;
    if (isPress) {
      this.#presses++;
      this.#pressedAt = receivedAt;
    }
    if (!this.#isStarted) {
      // All that a start does may be cut off at any point, as by a crash: the next start goes on from there.
      this.#log.info("stopped before the start was complete", { signal });
      return exit(EXIT_STOPPED);
    }
    const hint = isPress ? "press ^C again to end at once" : undefined;
    if (this.#requestedAt === undefined) {
      this.#requestedAt = receivedAt;
      this.#log.info("stopping", { signal, hint });
      return this.#requestStop();
    }
    if ((isPress && this.#presses > 1) || receivedAt - this.#requestedAt >= graceMs) {
      this.#log.warn("stopped at once", { signal });
      return exit(EXIT_ABORTED);
    }
    this.#log.info("still stopping; the signal changes nothing", { signal, hint });
  }
}

/** Whether a person sits at a terminal from which the process was started. */
export function isAtTerminal(): boolean {
  return Deno.stdin.isTerminal() || Deno.stderr.isTerminal();
}
