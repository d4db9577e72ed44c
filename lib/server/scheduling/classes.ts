/**
 * The classes of work that share one event loop, with all their numbers. docs/ARCHITECTURE.md ("Scheduling")
 * describes them.
 */
import type { WorkClass } from "./work_queue.ts";

/** Sessions within their committed rate. No queue: a connection yields after each time slice. */
export const INTERACTIVE = {
  /** Milliseconds of requests of one connection between two yields: a flood of one delays others by this. */
  timeSliceMs: 2,
};

/** Unauthenticated and closing connections. */
export const HANDSHAKE: WorkClass = {
  concurrency: Infinity, // the connections are limited already
  // A hundred of them at once delayed messages by 10 ms. Between two slices, all other work runs.
  timeSliceMs: 1,
  pauseRatio: 0, // logins after a restart must not wait while the loop is idle
  maxPauseMs: 0,
};

/** Logins that use the store. A semaphore. */
export const LOGINS = {
  /**
   * Keeps the store's connections busy and its batches large. Without a bound, none of thousands of logins
   * would be done before the last one. Waiting for an account's lock or for another node does not count.
   */
  concurrency: 100,
};

/** HISTORY, CONTACTS and MEMBERS. A semaphore. */
export const PAGES = {
  concurrency: 2, // each takes milliseconds of the event loop and of the embedded store
};

/**
 * The bulk class of a node without a message rate: backlogs only. They are no less urgent than messages, which
 * nothing slows down then. With pauses, deliveries to a busy group fell behind its senders by a minute.
 */
export const UNPACED_BULK: WorkClass = {
  concurrency: 64, // pages of 256 messages or 256 KiB: their memory and the store's work are bounded
  timeSliceMs: 2, // as for interactive work
  pauseRatio: 0,
  maxPauseMs: 0,
};

/** Requests beyond the committed rate, backlogs, and frequent logins. */
export const BULK: WorkClass = {
  // A message waits for the commit of its batch: two bulk items add little to it. The busier the node, the
  // longer an item takes, and so the fewer start.
  concurrency: 2,
  timeSliceMs: 0,
  // One part in 33 of the event loop. Beside 500 hostile clients, messages took 2.1 to 3.0 times as long in 99 of
  // 100 cases; with one in 17, 3.0 to 3.4 times.
  pauseRatio: 32,
  // Bulk work is never stopped, not even while large groups are busy, which are charged as well.
  maxPauseMs: 100,
  whileIdle: {
    // With 2, nearly every message of a single busy client pays for a commit of its own.
    concurrency: 64,
    timeSliceMs: 2, // all items that wait join the same commit; not longer than an interactive slice
    // A commit of 64 items may take 100 ms, while the loop is idle. So a message may wait for one such commit
    // after a quiet time, and not for every second one.
    quietMs: 100,
  },
};
