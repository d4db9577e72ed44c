/** The embedded store: an SQLite file, without installation and without another process. */
import {
  type Appended,
  type CursorUpdate,
  type NewMessage,
  type Rejection,
  type Store,
  type StoreLimits,
  StoreUnavailableError,
} from "../store.ts";
import { Batcher } from "./batcher.ts";
import { IN_MEMORY } from "./database.ts";
import type { DiskSpace } from "./free_space.ts";
import { lockDatabaseFile } from "./file_lock.ts";
import { ForwardingStore } from "./forwarding_store.ts";
import { rescueLostDatabase, type StoreLog } from "./lost_database.ts";

export { IN_MEMORY, type StoreLog };

/** A {@link Store} in a file. One server process at a time uses it, from any number of threads. */
export class SqliteStore extends ForwardingStore implements Store {
  /**
   * Fulfilled with the error if the database thread fails; all calls are rejected from then on. Stores that
   * share the database are not notified, and their calls remain pending.
   */
  readonly failed: Promise<Error>;

  /**
   * Fulfilled with the error if the database's files are removed, moved, replaced or truncated. All calls are
   * rejected from then on, also those of stores that share the database. The log says where the data is and
   * what to do. The process must exit with a status other than 0.
   */
  readonly lost: Promise<Error>;

  readonly #close: () => Promise<void>;
  #closing: Promise<void> | undefined;

  private constructor(batcher: Batcher, close: () => Promise<void>) {
    super(batcher);
    this.#close = close;
    this.failed = batcher.failed;
    this.lost = batcher.lost;
  }

  /**
   * Opens the database in `file`, and creates a missing one; {@link IN_MEMORY} is a database for tests.
   * Rejects with an Error of one line if the file is not a database of this program or is in use by another
   * server. `log` gets an entry when the files are lost or the disk has less than `minFreeSpace` free bytes
   * (0: no limit).
   */
  static async open(
    file: string,
    limits: StoreLimits,
    log?: StoreLog,
    minFreeSpace = 0,
  ): Promise<SqliteStore> {
    const lock = file === IN_MEMORY ? undefined : await lockDatabaseFile(file, { create: true });
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "database" });
    const batcher = new Batcher(worker);
    if (log) batcher.onDiskSpace = (space) => logDiskSpace(log, space, minFreeSpace);
    let rescue: ReturnType<typeof rescueLostDatabase> | undefined;
    const store = new SqliteStore(batcher, async () => {
      await batcher.drain();
      await batcher.check().catch(() => {}); // rejected if the worker died
      const logOutcome = await rescue;
      await batcher.close();
      logOutcome?.(); // again, at the end of the log
      worker.terminate();
      lock?.[Symbol.dispose](); // after the database: closing the file releases SQLite's locks
    });
    if (lock) {
      void batcher.lost.then((error) => rescue = rescueLostDatabase(batcher, file, lock, error, log));
    }
    try {
      const { path, identity, isUnclosed = false } = lock ?? {};
      const locked = path && identity ? { path, identity, isUnclosed } : undefined;
      await batcher.open(file, limits, locked, minFreeSpace);
      if (isUnclosed) warnUnclosed(file, log);
      await batcher.check();
      return store;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /**
   * Waits until all threads have opened the file. Call it before the server listens: later the name may
   * belong to another file, and the process may have no free descriptor.
   */
  async start(): Promise<void> {
    await this.batcher.start();
  }

  /** Opens a store on the port that {@link SqliteStore.share} of another store returned. */
  static fromPort(port: MessagePort): SqliteStore {
    const batcher = new Batcher(port);
    return new SqliteStore(batcher, async () => {
      await batcher.drain();
      port.close();
    });
  }

  /**
   * Returns a port for {@link SqliteStore.fromPort} on any thread of the process. That store sends batches of
   * its own to the database thread. Close it before the store that opened the file.
   */
  share(): MessagePort {
    if (this.#closing) throw new StoreUnavailableError("the database is closed");
    const { port1, port2 } = new MessageChannel();
    this.batcher.attach(port1);
    return port2;
  }

  async append(
    { sender, peer, cid, body, time, mustBeDuplicate }: NewMessage,
  ): Promise<Appended | Rejection> {
    const result = await this.batcher.call("append", sender, peer, cid, body, time, mustBeDuplicate);
    return typeof result === "number" ? { seq: result, time, duplicate: false } : result;
  }

  advanceCursors(updates: readonly CursorUpdate[]): Promise<void> {
    return this.batcher.call("advanceCursors", updates.flatMap(({ user, peer, seq }) => [user, peer, seq]));
  }

  /**
   * Does nothing: the file of an open store is never restored, so that its epoch is the one of the opening.
   */
  adoptEpoch(): void {}

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }
}

function warnUnclosed(file: string, log: StoreLog | undefined): void {
  log?.warn("the database was not closed by its last server, and has no -wal beside it", {
    file,
    action:
      "if the file was moved or copied without its -wal, its last messages are missing: stop the server, " +
      "and put the original file and its -wal in their places. If another program closed the database, " +
      "nothing is missing",
  });
}

/** Logs a change of the free space on the disk. */
function logDiskSpace(log: StoreLog, { space, free }: DiskSpace, minFreeSpace: number): void {
  const fields = { free: `${free}`, minFreeSpace: `${minFreeSpace}` };
  if (space === "low") {
    log.error("the disk is nearly full: new messages are rejected", {
      ...fields,
      action: "free disk space; or lower --min-free-space, which leaves less for logins and acknowledgements",
    });
  } else if (space === "enough") {
    log.warn("the disk has enough free space again: new messages are accepted", fields);
  } else log.warn("Cannot read the free space of the disk: messages are accepted until it is full", fields);
}
