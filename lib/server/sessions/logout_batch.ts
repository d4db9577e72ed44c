/** Writes logouts to the store in batches. The store derives `User.state` from them. */
import type { Log } from "../../log.ts";
import type { Login, Store } from "../../store/store.ts";
import { BatchWriter } from "../scheduling/batch_writer.ts";

/**
 * Logouts that wait for an unavailable store, some 10 MB of them. A later sweep ends a login whose logout was
 * dropped.
 */
const MAX_PENDING = 100_000;
/**
 * Milliseconds that a logout waits for others, so that they share a commit. Only programs of operators
 * see `User.state` so much later: while the bus is unavailable, a logout is written before its reply.
 */
const DELAY_MS = 100;
/** The key of all entries: a user has one logout, that of the latest login. */
const KEY = 0;

/** Logouts that are not stored yet. */
export class LogoutBatch extends BatchWriter {
  /** `maxPending` is the most logouts that wait for an unavailable store. */
  constructor(store: Pick<Store, "releaseAccounts">, log: Log, maxPending = MAX_PENDING) {
    super({
      name: "storing logouts",
      log,
      maxPending,
      delayMs: DELAY_MS,
      flushThreshold: Infinity,
      write: (entries) =>
        store.releaseAccounts(entries.map(({ user, value: loginEpoch }) => ({ user, loginEpoch }))),
    });
  }

  /** Records that a login has ended. */
  add({ user, loginEpoch }: Login): void {
    this.put(user, KEY, loginEpoch);
  }
}
