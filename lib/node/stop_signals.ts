/** SIGTERM and SIGINT: an orderly stop, or an immediate one. */
import type { Log } from "../log.ts";

const EXIT_STOPPED = 0; // stopped before there was anything to close
const EXIT_ABORTED = 1; // stopped without having closed everything

/** Milliseconds in which several SIGINTs count as one ^C: `deno task` repeats the signal of the terminal. */
const DEBOUNCE_MS = 200;

/** A signal that stops the process. */
export type StopSignal = "SIGTERM" | "SIGINT";

/** The options of signal handling. */
export interface StopOptions {
  /** Milliseconds after the first signal in which another SIGTERM is ignored: the time of an orderly stop. */
  readonly graceMs: number;
  /** Whether the process runs in a terminal, where a second ^C stops it immediately. */
  readonly isTerminal: boolean;
  /** Ends the process. */
  readonly exit: (code: number) => void;
  /** Returns milliseconds that never go back. */
  readonly now: () => number;
}

/** The handling of stop signals, from the start of the process to its end. */
export class StopSignals {
  /** Fulfilled at the first signal after {@link markStarted}. */
  readonly stopRequested: Promise<void>;
  readonly #log: Log;
  readonly #options: StopOptions;
  readonly #requestStop: () => void;
  #isStarted = false;
  #requestedAt: number | undefined;
  #presses = 0; // presses of ^C
  #pressedAt = -Infinity;

  constructor(log: Log, options: StopOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.stopRequested = promise;
    this.#requestStop = resolve;
    this.#log = log;
    this.#options = options;
  }

  /** Listens to the signals. Without a listener they would end the process. */
  listen(): void {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, () => this.handle(signal));
    }
  }

  /** Marks the start as complete. Before that, a signal ends the process immediately. */
  markStarted(): void {
    this.#isStarted = true;
  }

  /** Handles a signal. */
  handle(signal: StopSignal): void {
    const { exit, graceMs, isTerminal, now } = this.#options;
    const receivedAt = now();
    const isPress = signal === "SIGINT" && isTerminal && receivedAt - this.#pressedAt >= DEBOUNCE_MS;
    if (isPress) {
      this.#presses++;
      this.#pressedAt = receivedAt;
    }
    if (!this.#isStarted) {
      // A start may be interrupted at any point, as by a crash: the next start continues.
      this.#log.info("stopped before the start was complete", { signal });
      return exit(EXIT_STOPPED);
    }
    const hint = isPress ? "press ^C again to stop immediately" : undefined;
    if (this.#requestedAt === undefined) {
      this.#requestedAt = receivedAt;
      this.#log.info("stopping", { signal, hint });
      return this.#requestStop();
    }
    if ((isPress && this.#presses > 1) || receivedAt - this.#requestedAt >= graceMs) {
      this.#log.warn("stopped immediately", { signal });
      return exit(EXIT_ABORTED);
    }
    this.#log.info("still stopping: the signal is ignored", { signal, hint });
  }
}

/** Returns whether the process was started in a terminal. */
export function isAtTerminal(): boolean {
  return Deno.stdin.isTerminal() || Deno.stderr.isTerminal();
}
