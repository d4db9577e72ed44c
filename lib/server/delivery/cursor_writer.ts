/**
 * Writes the cursors of all sessions to the store in batches. A cursor that is lost on the way costs a
 * repeated push, which clients hide. So cursors need not be written one by one.
 */
import type { Log } from "../../log.ts";
import type { Peer, Store } from "../../store/store.ts";
import { BatchWriter } from "../scheduling/batch_writer.ts";

/**
 * Milliseconds that a cursor waits before it is written. A cursor that advances several times in that time
 * costs one write. A crash repeats at most the messages of that time.
 */
const FLUSH_INTERVAL_MS = 500;
/** Cursors that are written without delay, which bounds the memory they take: ten batches. */
const FLUSH_THRESHOLD = 10_000;
/**
 * Cursors that wait for an unavailable store, some 10 MB of them. Each one that is dropped costs repeated
 * pushes.
 */
const MAX_PENDING = 100_000;

/** Cursors that have advanced and are not stored yet. */
export class CursorWriter extends BatchWriter {
  /** `maxPending` is the most cursors that wait for an unavailable store. */
  constructor(store: Pick<Store, "advanceCursors">, log: Log, maxPending = MAX_PENDING) {
    super({
      name: "storing cursors",
      log,
      maxPending,
      delayMs: FLUSH_INTERVAL_MS,
      flushThreshold: FLUSH_THRESHOLD,
      write: (entries) =>
        store.advanceCursors(entries.map(({ user, key: peer, value: seq }) => ({ user, peer, seq }))),
    });
  }

  /** Records that a user has received a conversation up to `seq`. */
  advance(user: number, peer: Peer, seq: number): void {
    this.put(user, peer, seq);
  }
}
