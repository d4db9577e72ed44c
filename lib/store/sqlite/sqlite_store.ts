/** The embedded store: an SQLite file, with nothing to install and no other process. */
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

/** A {@link Store} in a file that one server process at a time uses, from any of its threads. */
export class SqliteStore extends ForwardingStore implements Store {
  /**
   * Fulfilled, with the reason, if the store can't go on; all calls are rejected from then on. Only the store that
   * opened the file is told: calls of those that share it are then not answered any more.
   */
  readonly failed: Promise<Error>;

  /**
   * Fulfilled, with the reason, if the database's files are removed, moved or replaced. All calls are rejected from then
   * on, also those of the stores that share the file, and the log says what to do. The process must not exit with 0.
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
   * Opens the database in `file`, making it if it isn't there; {@link IN_MEMORY} is one for tests. Rejects with
   * an Error of one line if the file can't be opened, is something else, or is in use by another server. The log is
   * told if the database's files are lost later, or their disk has less than `minFreeSpace` bytes left (0: no mark).
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
    let rescuing: Promise<() => void> | undefined;
    const store = new SqliteStore(batcher, async () => {
      await batcher.drain();
      await batcher.check().catch(() => {}); // a dead worker
      const repeat = await rescuing;
      await batcher.close();
      repeat?.(); // what was said of it is far above in the log by now
      worker.terminate();
      lock?.[Symbol.dispose](); // after the database: closing the file takes SQLite's locks from it
    });
    if (lock) {
      void batcher.lost.then((error) => rescuing = rescueLostDatabase(batcher, file, lock, error, log));
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
   * Waits until all threads have begun and have opened the file, so that nothing opens it while the server listens: its name
   * may be another file's then, and a process may have no descriptors left.
   */
  async start(): Promise<void> {
    await this.batcher.start();
  }

  /** The database that another store has given a share of: see {@link SqliteStore.share}. */
  static fromPort(port: MessagePort): SqliteStore {
    const batcher = new Batcher(port);
    return new SqliteStore(batcher, async () => {
      await batcher.drain();
      port.close();
    });
  }

  /**
   * Gives a share of the database, for {@link SqliteStore.fromPort} on this thread or any other. What is called there
   * goes to the database's thread directly, in batches of its own. Closing the one leaves the other as it is; but
   * those that share the file must be closed before the one that opened it.
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

  /** Does nothing: the file of an open store is never restored, so that its epoch is the one of the opening. */
  adoptEpoch(): void {}

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }
}

function warnUnclosed(file: string, log: StoreLog | undefined): void {
  log?.warn("the database was not closed by its last server, and has no -wal beside it", {
    file,
    hint:
      "if the file was moved or copied without its -wal, its last messages are missing: stop the server, put the " +
      "file as it was and its -wal there. If another program or an older release closed it, all is well",
  });
}

/** Says what became of the room on the disk. */
function logDiskSpace(log: StoreLog, { space, free }: DiskSpace, minFreeSpace: number): void {
  const fields = { free: `${free}`, minFreeSpace: `${minFreeSpace}` };
  if (space === "low") {
    log.error("the disk is nearly full: new messages are refused", {
      ...fields,
      action: "make room; or lower --min-free-space, which leaves less for logins and DELIVERED",
    });
  } else if (space === "enough") log.warn("the disk has room again: new messages are taken", fields);
  else log.warn("the room on the disk is not known: messages are taken until it is full", fields);
}
