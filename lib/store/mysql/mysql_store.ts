/** The store that many nodes share: a database on MySQL or MariaDB. */
import type {
  Account,
  Appended,
  Contacts,
  Delivered,
  Identity,
  Login,
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
import { StoreUnavailable } from "../store.ts";
import * as accounts from "./accounts.ts";
import { type AccessOptions, driverOptions, type MysqlAddress, parseAddress } from "./address.ts";
import type { Answer } from "./append.ts";
import { appender } from "./appender.ts";
import * as contacts from "./contacts.ts";
import { moveCursors } from "./cursors.ts";
import { reasonOf } from "./errors.ts";
import { Fence } from "./fence.ts";
import type { Gatherer } from "./group_commit_queue.ts";
import { readClusterKey, readIdentity, renewEpoch, settleIdentity } from "./identity.ts";
import { createGroup, joinGroup } from "./groups.ts";
import { Keyed } from "./keyed_queue.ts";
import { type LoginChange, loginGatherer } from "./logins.ts";
import * as logins from "./logins.ts";
import * as pages from "./pages.ts";
import { Pool } from "./pool.ts";
import { prepareSchema, type Progress } from "./schema/migrate.ts";
import { Session } from "./mysql_connection.ts";
import { sql } from "./sql.ts";

/** ms that a node's clock may differ from the database's before it says so: more than clocks that are kept right do. */
const CLOCK_DIFFERENCE_MS = 60_000;

/** How a store is opened. */
export interface MysqlOptions extends AccessOptions {
  /** Told of what is done to the database when it is opened. */
  readonly log: Progress;
  /** Connections at most: one of them is for messages, the others for everything else. 2 at least. */
  readonly connections: number;
}

/**
 * A {@link Store} that any number of nodes use at once. One connection brings the node's messages into the log, batch
 * by batch; the others share everything else, so that no login waits for messages, or they for it.
 */
export class MysqlStore implements Store {
  readonly #limits: StoreLimits;
  readonly #pool: Pool;
  readonly #writer: Pool; // of one connection
  readonly #log: Gatherer<NewMessage, Answer>;
  readonly #logins: Gatherer<LoginChange, number>;
  readonly #fence: Fence;
  #lastUser = 0; // the highest id that this node has given out
  readonly #ordered = new Keyed();
  #calls = 0; // under way
  #closed: PromiseWithResolvers<void> | undefined; // fulfilled when none is
  #closing: Promise<void> | undefined;

  private constructor(
    address: MysqlAddress,
    limits: StoreLimits,
    connections: number,
    maxPacket: number,
    fence: Fence,
  ) {
    this.#limits = limits;
    this.#fence = fence;
    fence.onAdopt(() => this.#lastUser = 0);
    this.#pool = new Pool(address, connections - 1, fence);
    this.#writer = new Pool(address, 1, fence);
    this.#log = appender(this.#writer, maxPacket, fence);
    this.#logins = loginGatherer(this.#pool);
  }

  /**
   * Opens the database that `url` names (see {@link parseAddress}), making what isn't there. Rejects
   * with an Error of one line, without the password, if it can't be reached or used, or if its server is set up so that
   * committed messages can be lost.
   */
  static async open(url: string, limits: StoreLimits, options: MysqlOptions): Promise<MysqlStore> {
    const address = parseAddress(url, options);
    try {
      const server = await Session.open({ ...address, database: "" }); // which need not be there yet
      await compareClocks(server, options.log).finally(() => server.close());
      const { maxPacket } = server.checked;
      await prepareSchema(driverOptions(address), options.log);
      const fence = new Fence();
      const session = await Session.open(address);
      const { epoch } = await settleIdentity(session).finally(() => session.close());
      fence.adopt(epoch);
      return new MysqlStore(address, limits, options.connections, maxPacket, fence);
    } catch (error) {
      throw new Error(`cannot open the database ${address.name}: ${reasonOf(error)}`);
    }
  }

  async createUser(name: string, passwordHash: string): Promise<{ id: number } | Refused> {
    const before = this.#lastUser;
    const made = await this.#change(
      `name ${name}`,
      (session) => accounts.createUser(session, name, passwordHash),
    );
    if ("id" in made) {
      if (made.id <= before) throw this.#fence.reportLoss(); // the id of an account that is gone
      this.#lastUser = Math.max(this.#lastUser, made.id);
    }
    return made;
  }

  clusterKey(): Promise<string> {
    return this.#call(() => readClusterKey(this.#pool));
  }

  async identity(): Promise<Identity> {
    if (this.#fence.isLost) await this.renewEpoch(this.#fence.epoch);
    return await this.#call(() => readIdentity(this.#pool));
  }

  async renewEpoch(was: string): Promise<void> {
    await this.#call(() => this.#pool.change((session) => renewEpoch(session, was)));
  }

  adopt(epoch: string): void {
    this.#fence.adopt(epoch);
  }

  findUser(by: { id: number } | { name: string }): Promise<Account | undefined> {
    return this.#call(() => accounts.findUser(this.#pool, by));
  }

  setPassword(user: number, passwordHash: string, was: string): Promise<void> {
    return this.#change(
      `user ${user}`,
      (session) => accounts.setPassword(session, user, passwordHash, was),
    );
  }

  unhashed(after: number, limit: number): Promise<readonly Account[]> {
    return this.#call(() => accounts.unhashed(this.#pool, after, limit));
  }

  beginLogin(user: number, tokenHash?: Uint8Array): Promise<number> {
    return this.#call(() => this.#logins.add({ kind: "begin", user, tokenHash }));
  }

  async endLogins(logins: readonly Login[]): Promise<void> {
    await this.#call(() => this.#logins.add({ kind: "end", logins }));
  }

  async resumeLogins(logins: readonly Login[]): Promise<void> {
    await this.#call(() => this.#logins.add({ kind: "resume", logins }));
  }

  lastLogins(users: readonly number[]): Promise<ReadonlyMap<number, number>> {
    return this.#call(() => logins.lastLogins(this.#pool, users));
  }

  loggedIn(after: number, limit: number): Promise<readonly Login[]> {
    return this.#call(() => logins.loggedIn(this.#pool, after, limit));
  }

  async saveSession(login: Login, tokenHash: Uint8Array, expires: number): Promise<boolean> {
    return await this.#call(() => this.#logins.add({ kind: "save", login, tokenHash, expires })) > 0;
  }

  findSession(user: number): Promise<SavedSession | undefined> {
    return this.#call(() => logins.findSession(this.#pool, user));
  }

  async deleteSession(login: Login): Promise<void> {
    await this.#call(() => this.#logins.add({ kind: "delete", login }));
  }

  addFriend(user: number, friend: number): Promise<{ name: string } | Refused> {
    return this.#change(
      `user ${user}`,
      (session) => accounts.addFriend(session, this.#limits, user, friend),
    );
  }

  watchers(user: number, after: number, limit: number): Promise<readonly number[]> {
    return this.#call(() => contacts.watchers(this.#pool, user, after, limit));
  }

  friendsOf(
    users: readonly number[],
  ): Promise<readonly { readonly user: number; readonly friend: number }[]> {
    return this.#call(() => contacts.friendsOf(this.#pool, users));
  }

  contacts(user: number, usersPerGroup: number): Promise<Contacts> {
    return this.#call(() => contacts.contacts(this.#pool, user, usersPerGroup));
  }

  createGroup(creator: number, name: string, description: string): Promise<{ id: number } | Refused> {
    const make = () =>
      this.#change(
        `user ${creator}`,
        (session) => createGroup(session, this.#limits, creator, name, description),
      );
    return this.#call(() => this.#ordered.run(`group ${name}`, make)); // who asks first for a name gets it
  }

  joinGroup(user: number, group: number): Promise<{ name: string } | Refused> {
    return this.#call(async () => {
      await this.#log.alone(() => Promise.resolve()); // what was appended before isn't missed, and appends needn't wait
      return await this.#change(`user ${user}`, (session) => joinGroup(session, this.#limits, user, group));
    });
  }

  members(user: number, group: number, after: number, limit: number): Promise<readonly Member[] | Refused> {
    return this.#call(() => contacts.members(this.#pool, user, group, after, limit));
  }

  append(message: NewMessage): Promise<Appended | Refused> {
    return this.#call(() => this.#log.add(message));
  }

  delivered(upTo: readonly Delivered[]): Promise<void> {
    if (upTo.length === 0) return Promise.resolve();
    return this.#call(async () => {
      await this.#log.alone(() => Promise.resolve()); // what was appended before is there, and appends needn't wait
      await this.#ordered.run(
        "cursors",
        () => this.#pool.change((session) => moveCursors(session, this.#fence, upTo)),
      );
    });
  }

  unread(user: number, limit: number): Promise<readonly Unread[]> {
    return this.#call(() => pages.unread(this.#pool, user, limit));
  }

  behind(users: readonly number[]): Promise<readonly number[]> {
    return this.#call(() => pages.behind(this.#pool, users));
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
  ): Promise<readonly StoredMessage[] | Refused> {
    return this.#call(() => pages.history(this.#pool, user, peer, before, limit, maxBytes));
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Makes a change, after all that were asked for before with the same key. */
  #change<T>(key: string, work: (session: Session) => Promise<T>): Promise<T> {
    return this.#call(() => this.#ordered.run(key, () => this.#pool.change(work)));
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new StoreUnavailable("the database is closed");
    this.#calls++;
    try {
      return await work();
    } finally {
      this.#calls--;
      if (this.#calls === 0) this.#closed?.resolve();
    }
  }

  async #close(): Promise<void> {
    this.#closed = Promise.withResolvers();
    if (this.#calls > 0) await this.#closed.promise;
    await Promise.all([this.#pool.close(), this.#writer.close()]);
  }
}

/** Warns if this machine's clock and the database's differ: messages' times and tokens' expiry come from nodes' clocks. */
async function compareClocks(server: Session, log: Progress): Promise<void> {
  const [found] = await server.query(sql`SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) AS now`);
  const differenceMs = Date.now() - (found!.rows[0]!.now as number);
  if (Math.abs(differenceMs) <= CLOCK_DIFFERENCE_MS) return;
  log.warn("this machine's clock differs from the database's", { differenceMs });
}
