/** The embedded store: an SQLite file, with nothing to install and no other process. */
import type {
  Account,
  Appended,
  Contacts,
  Delivered,
  Member,
  NewMessage,
  Page,
  Peer,
  Refused,
  SavedSession,
  Store,
  StoredMessage,
  StoreLimits,
  Unread,
} from "../store.ts";
import { Batcher } from "./batcher.ts";

/** A database that is gone when it is closed, in place of a file. */
export const IN_MEMORY = ":memory:";

/** Only the server's own account reads what people wrote. SQLite gives its other files the same permissions. */
const PRIVATE = 0o600;

/** A {@link Store} in a file that one server process at a time uses. */
export class SqliteStore implements Store {
  /** Fulfilled, with the reason, if the store can't go on; all calls are rejected from then on. */
  readonly failed: Promise<Error>;

  readonly #worker: Worker;
  readonly #batcher: Batcher;
  readonly #lock: Deno.FsFile | undefined;
  #closing: Promise<void> | undefined;

  private constructor(worker: Worker, batcher: Batcher, lock: Deno.FsFile | undefined) {
    this.#worker = worker;
    this.#batcher = batcher;
    this.#lock = lock;
    this.failed = batcher.failed;
  }

  /**
   * Opens the database in `file`, making it if it isn't there; {@link IN_MEMORY} is one for tests. Rejects with
   * an Error of one line if the file can't be opened, is something else, or is in use by another server.
   */
  static async open(file: string, limits: StoreLimits): Promise<SqliteStore> {
    const lock = file === IN_MEMORY ? undefined : await takeFile(file);
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "database" });
    const batcher = new Batcher(worker);
    const store = new SqliteStore(worker, batcher, lock);
    try {
      await batcher.open(file, limits);
      return store;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  createUser(name: string, passwordHash: string): Promise<{ id: number } | Refused> {
    return this.#batcher.change("createUser", name, passwordHash);
  }

  findUser(by: { id: number } | { name: string }): Promise<Account | undefined> {
    return this.#batcher.read("findUser", by);
  }

  setPassword(user: number, passwordHash: string): Promise<void> {
    return this.#batcher.change("setPassword", user, passwordHash);
  }

  saveSession(user: number, tokenHash: Uint8Array, expires: number): Promise<void> {
    return this.#batcher.change("saveSession", user, tokenHash, expires);
  }

  findSession(user: number): Promise<SavedSession | undefined> {
    return this.#batcher.read("findSession", user);
  }

  deleteSession(user: number): Promise<void> {
    return this.#batcher.change("deleteSession", user);
  }

  setState(user: number, state: "online" | "offline"): Promise<void> {
    return this.#batcher.change("setState", user, state);
  }

  addFriend(user: number, friend: number): Promise<{ name: string } | Refused> {
    return this.#batcher.change("addFriend", user, friend);
  }

  watchers(user: number, after: number, limit: number): Promise<readonly number[]> {
    return this.#batcher.read("watchers", user, after, limit);
  }

  contacts(user: number, usersPerGroup: number): Promise<Contacts> {
    return this.#batcher.read("contacts", user, usersPerGroup);
  }

  createGroup(creator: number, name: string, description: string): Promise<{ id: number } | Refused> {
    return this.#batcher.change("createGroup", creator, name, description);
  }

  joinGroup(user: number, group: number): Promise<{ name: string } | Refused> {
    return this.#batcher.change("joinGroup", user, group);
  }

  members(user: number, group: number, after: number, limit: number): Promise<readonly Member[] | Refused> {
    return this.#batcher.read("members", user, group, after, limit);
  }

  append(message: NewMessage): Promise<Appended | Refused> {
    return this.#batcher.change("append", message);
  }

  delivered(upTo: readonly Delivered[]): Promise<void> {
    return this.#batcher.change("delivered", upTo);
  }

  unread(user: number, limit: number): Promise<readonly Unread[]> {
    return this.#batcher.read("unread", user, limit);
  }

  read(
    user: number,
    peer: Peer,
    after: number | undefined,
    limit: number,
    maxBytes: number,
  ): Promise<Page> {
    return this.#batcher.read("read", user, peer, after, limit, maxBytes);
  }

  history(
    user: number,
    peer: Peer,
    before: number | undefined,
    limit: number,
    maxBytes: number,
  ): Promise<readonly StoredMessage[] | Refused> {
    return this.#batcher.read("history", user, peer, before, limit, maxBytes);
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    await this.#batcher.close();
    this.#worker.terminate();
    this.#lock?.close();
  }
}

/** Makes the file if it isn't there and takes the lock beside it; closing what it gives back lets go. */
async function takeFile(file: string): Promise<Deno.FsFile> {
  // Not a lock on the database itself: its own locks are SQLite's, and operators' tools may look at any time.
  let lock: Deno.FsFile | undefined;
  try {
    lock = await Deno.open(`${file}.lock`, { create: true, write: true, mode: PRIVATE });
    if (!await lock.tryLock(true)) throw new Error("another server is using it");
    await createFile(file);
    return lock;
  } catch (error) {
    lock?.close();
    throw new Error(`cannot open the database ${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function createFile(file: string): Promise<void> {
  try {
    const created = await Deno.open(file, { createNew: true, write: true, mode: PRIVATE });
    created.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}
