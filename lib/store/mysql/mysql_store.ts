/** The store for many nodes: a database on MySQL or MariaDB. */
import type {
  Account,
  Appended,
  Contacts,
  CursorUpdate,
  Login,
  Member,
  NewMessage,
  Page,
  Peer,
  Rejection,
  SavedSession,
  Store,
  StoredMessage,
  StoreIdentity,
  StoreLimits,
  Unread,
} from "../store.ts";
import { KeyedMutex } from "../../keyed_mutex.ts";
import { conversationKey, conversationName } from "../conversation.ts";
import { StoreUnavailableError } from "../store.ts";
import * as accounts from "./accounts.ts";
import { type AccessOptions, driverOptions, type MysqlAddress, parseAddress } from "./address.ts";
import type { AppendResult } from "./append.ts";
import { appendQueue } from "./appender.ts";
import { compareClocks } from "./clock.ts";
import { ConversationCache } from "./conversation_cache.ts";
import * as contacts from "./contacts.ts";
import { advanceCursors } from "./cursors.ts";
import { reasonOf } from "./errors.ts";
import { Fence } from "./fence.ts";
import type { GroupCommitQueue } from "./group_commit_queue.ts";
import { ensureIdentity, readClusterKey, readIdentity, renewEpoch } from "./identity.ts";
import { createGroup, joinGroup } from "./groups.ts";
import * as logins from "./logins.ts";
import * as pages from "./pages.ts";
import { Pool } from "./pool.ts";
import { ReadBatches } from "./read_batches.ts";
import { type NewAccount, registrationQueue } from "./registrations.ts";
import { migrate, type MigrationLog } from "./schema/migrate.ts";
import { MysqlConnection } from "./mysql_connection.ts";

/** The options of a store. */
export interface MysqlOptions extends AccessOptions {
  /** Receives the steps of the schema's migration. */
  readonly log: MigrationLog;
  /** The maximum of connections, at least 2: one for messages, and the others for everything else. */
  readonly maxConnections: number;
}

/**
 * A {@link Store} for any number of nodes. One connection appends the node's messages to the log, in batches.
 * The other connections do everything else, so that logins and messages do not wait for each other.
 */
export class MysqlStore implements Store {
  readonly #limits: StoreLimits;
  readonly #pool: Pool;
  readonly #writer: Pool; // of one connection
  readonly #appendQueue: GroupCommitQueue<NewMessage, AppendResult>;
  readonly #loginQueue: GroupCommitQueue<logins.LoginChange, number>;
  readonly #registrations: GroupCommitQueue<NewAccount, { readonly id: number } | Rejection>;
  readonly #reads: ReadBatches;
  readonly #fence: Fence;
  readonly #conversations = new ConversationCache();
  readonly #changeMutex = new KeyedMutex<string>(overloadError);
  #callsInFlight = 0;
  #drained: PromiseWithResolvers<void> | undefined; // resolves when no call is in flight
  #closing: Promise<void> | undefined;

  private constructor(
    address: MysqlAddress,
    limits: StoreLimits,
    connections: number,
    maxPacketBytes: number,
    fence: Fence,
  ) {
    this.#limits = limits;
    this.#fence = fence;
    this.#pool = new Pool(address, connections - 1, fence);
    this.#writer = new Pool(address, 1, fence);
    this.#appendQueue = appendQueue(this.#writer, maxPacketBytes, fence, this.#conversations);
    this.#loginQueue = logins.loginQueue(this.#pool);
    this.#registrations = registrationQueue(this.#pool, fence);
    this.#reads = new ReadBatches(this.#pool);
  }

  /**
   * Opens the database at `url` (see {@link parseAddress}), and creates or migrates its tables. Rejects with
   * an Error of one line, without the password, if the database is unavailable or unsuitable, or if its
   * server can lose committed messages.
   */
  static async open(url: string, limits: StoreLimits, options: MysqlOptions): Promise<MysqlStore> {
    const address = parseAddress(url, options);
    try {
      const server = await MysqlConnection.open({ ...address, database: "" }); // it may not exist yet
      await compareClocks(server, options.log).finally(() => server.close());
      const { maxPacketBytes } = server.serverInfo;
      await migrate(driverOptions(address), options.log);
      const fence = new Fence();
      const connection = await MysqlConnection.open(address);
      const { epoch } = await ensureIdentity(connection).finally(() => connection.close());
      fence.adoptEpoch(epoch);
      return new MysqlStore(address, limits, options.maxConnections, maxPacketBytes, fence);
    } catch (error) {
      throw new Error(`Cannot open the database ${address.name}: ${reasonOf(error)}`);
    }
  }

  createUser(name: string, passwordHash: string): Promise<{ id: number } | Rejection> {
    return this.#call(() => this.#registrations.add({ name, passwordHash }));
  }

  clusterKey(): Promise<string> {
    return this.#call(() => readClusterKey(this.#pool));
  }

  async identity(): Promise<StoreIdentity> {
    if (this.#fence.hasLostData) await this.renewEpoch(this.#fence.epoch);
    return await this.#call(() => readIdentity(this.#pool));
  }

  async renewEpoch(expectedEpoch: string): Promise<void> {
    await this.#call(() => this.#pool.change((connection) => renewEpoch(connection, expectedEpoch)));
  }

  adoptEpoch(epoch: string): void {
    this.#fence.adoptEpoch(epoch);
  }

  findUser(by: { id: number } | { name: string }): Promise<Account | undefined> {
    return this.#call(() => accounts.findUser(this.#pool, by));
  }

  setPassword(user: number, passwordHash: string, expectedHash: string): Promise<void> {
    return this.#change(
      `user ${user}`,
      (connection) => accounts.setPassword(connection, user, passwordHash, expectedHash),
    );
  }

  plaintextAccounts(after: number, limit: number): Promise<readonly Account[]> {
    return this.#call(() => accounts.plaintextAccounts(this.#pool, after, limit));
  }

  claimAccount(user: number, tokenHash?: Uint8Array): Promise<number> {
    return this.#call(() => this.#loginQueue.add({ kind: "claim", user, tokenHash }));
  }

  async releaseAccounts(logins: readonly Login[]): Promise<void> {
    await this.#call(() => this.#loginQueue.add({ kind: "release", logins }));
  }

  async reclaimAccounts(logins: readonly Login[]): Promise<void> {
    await this.#call(() => this.#loginQueue.add({ kind: "reclaim", logins }));
  }

  latestLoginEpochs(users: readonly number[]): Promise<ReadonlyMap<number, number>> {
    return this.#call(() => logins.latestLoginEpochs(this.#pool, users));
  }

  onlineLogins(after: number, limit: number): Promise<readonly Login[]> {
    return this.#call(() => logins.onlineLogins(this.#pool, after, limit));
  }

  async saveSession(login: Login, tokenHash: Uint8Array, expires: number): Promise<boolean> {
    return await this.#call(() => this.#loginQueue.add({ kind: "save", login, tokenHash, expires })) > 0;
  }

  findSession(user: number): Promise<SavedSession | undefined> {
    return this.#call(() => this.#reads.run(logins.SESSION_READ, user));
  }

  async deleteSession(login: Login): Promise<void> {
    await this.#call(() => this.#loginQueue.add({ kind: "delete", login }));
  }

  addFriend(user: number, friend: number): Promise<{ name: string } | Rejection> {
    return this.#change(
      `user ${user}`,
      (connection) => accounts.addFriend(connection, this.#limits, user, friend),
    );
  }

  followers(user: number, after: number, limit: number): Promise<readonly number[]> {
    return this.#call(() => this.#reads.run(contacts.FOLLOWER_READ, { user, after, limit }));
  }

  friendsOf(
    users: readonly number[],
  ): Promise<readonly { readonly user: number; readonly friend: number }[]> {
    return this.#call(() => contacts.friendsOf(this.#pool, users));
  }

  contacts(user: number, usersPerGroup: number): Promise<Contacts> {
    return this.#call(() => this.#reads.run(contacts.CONTACTS_READ, { user, usersPerGroup }));
  }

  createGroup(creator: number, name: string, description: string): Promise<{ id: number } | Rejection> {
    const make = () =>
      this.#change(
        `user ${creator}`,
        (connection) => createGroup(connection, this.#limits, creator, name, description),
      );
    return this.#call(() => this.#changeMutex.run(`group ${name}`, make)); // names in the order of calls
  }

  joinGroup(user: number, group: number): Promise<{ name: string } | Rejection> {
    return this.#call(async () => {
      // Earlier messages count as read, and later ones need not wait.
      await this.#appendQueue.barrier(() => Promise.resolve());
      return await this.#change(
        `user ${user}`,
        (connection) => joinGroup(connection, this.#limits, user, group),
      );
    });
  }

  members(user: number, group: number, after: number, limit: number): Promise<readonly Member[] | Rejection> {
    return this.#call(() => contacts.members(this.#pool, user, group, after, limit));
  }

  append(message: NewMessage): Promise<Appended | Rejection> {
    return this.#call(() => this.#appendQueue.add(message));
  }

  noteCommitted(recipient: number, message: StoredMessage): void {
    this.#conversations.noteTail(conversationName(conversationKey(message.sender, recipient)), message);
  }

  advanceCursors(updates: readonly CursorUpdate[]): Promise<void> {
    if (updates.length === 0) return Promise.resolve();
    return this.#call(async () => {
      // Earlier messages are stored, and later ones need not wait.
      await this.#appendQueue.barrier(() => Promise.resolve());
      await this.#changeMutex.run(
        "cursors",
        () => this.#pool.change((connection) => advanceCursors(connection, this.#fence, updates)),
      );
    });
  }

  unread(user: number, limit: number): Promise<readonly Unread[]> {
    return this.#call(() => this.#reads.run(pages.UNREAD_READ, { user, limit }));
  }

  usersWithUnread(users: readonly number[]): Promise<readonly number[]> {
    return this.#call(() => pages.usersWithUnread(this.#pool, users));
  }

  read(
    user: number,
    peer: Peer,
    after: number | undefined,
    limit: number,
    maxBytes: number,
  ): Promise<Page> {
    return this.#call(() => pages.read(this.#pool, user, peer, after, limit, maxBytes));
  }

  history(
    user: number,
    peer: Peer,
    before: number | undefined,
    limit: number,
    maxBytes: number,
  ): Promise<readonly StoredMessage[] | Rejection> {
    return this.#call(() => pages.history(this.#pool, user, peer, before, limit, maxBytes));
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Changes the database after all earlier changes with the same key. */
  #change<T>(key: string, work: (connection: MysqlConnection) => Promise<T>): Promise<T> {
    return this.#call(() => this.#changeMutex.run(key, () => this.#pool.change(work)));
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new StoreUnavailableError("the database is closed");
    this.#callsInFlight++;
    try {
      return await work();
    } finally {
      this.#callsInFlight--;
      if (this.#callsInFlight === 0) this.#drained?.resolve();
    }
  }

  async #close(): Promise<void> {
    this.#drained = Promise.withResolvers();
    if (this.#callsInFlight > 0) await this.#drained.promise;
    await Promise.all([this.#pool.close(), this.#writer.close()]);
  }
}

function overloadError(waiters: number): StoreUnavailableError {
  return new StoreUnavailableError(`Cannot change the database: ${waiters} changes are waiting`);
}
