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
  maxWeight: Infinity, // the connections are limited already
  // A hundred of them at once delayed messages by 10 ms. Between two slices, all other work runs.
  timeSliceMs: 1,
  pauseRatio: 0, // logins after a restart must not wait while the loop is idle
  maxPauseMs: 0,
  quietMs: 0,
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

/** The weight of a page of a backlog, of up to 256 messages or 256 KiB: two are read at the same time. */
export const BACKLOG_PAGE_WEIGHT = 64;

/** Bytes of a request that weigh as much as a simple request. */
const BYTES_PER_WEIGHT = 2_048;

/**
 * Returns the weight of a request that costs as much as `cost` simple ones. It is rounded, so that a sum of
 * weights returns to 0, and a small message weighs 1.
 */
export function weightOf(cost: number, bytes: number): number {
  return Math.round(cost + bytes / BYTES_PER_WEIGHT);
}

/**
 * The bulk class of a node without a message rate: backlogs only. They are no less urgent than messages, which
 * nothing slows down then. With pauses, deliveries to a busy group fell behind its senders by a minute.
 */
export const UNPACED_BULK: WorkClass = {
  maxWeight: 64 * BACKLOG_PAGE_WEIGHT, // their memory and the store's work are bounded
  timeSliceMs: 2, // as for interactive work
  pauseRatio: 0,
  maxPauseMs: 0,
  quietMs: 0,
};

/** Requests beyond the committed rate, backlogs, and frequent logins. */
export const BULK: WorkClass = {
  // A message waits for the commit of its batch, to which bulk items add about 0.02 ms each. The fewer may be in
  // progress, the more commits they cost. With 2, a million messages took 142 CPU seconds; with 64, about 80;
  // with 128, 65.
  maxWeight: 128,
  timeSliceMs: 2, // items that wait start together, and so join the same commit
  // One part in 33 of a busy event loop. Beside 500 hostile clients, messages took 2.1 to 3.0 times as long in
  // 99 of 100 cases; with one in 17, 3.0 to 3.4 times.
  pauseRatio: 32,
  // Bulk work is never stopped, not even while large groups are busy, which are charged as well.
  maxPauseMs: 100,
  quietMs: 100, // some people type now and then, and still find a quiet node
};
