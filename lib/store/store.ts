/**
 * The interface of durable storage. Its message log is the source of truth. Every implementation passes the
 * test suite in tests/store/store_contract.ts.
 */

/** The identity of a store and of its history. */
export interface StoreIdentity {
  /**
   * The deployment's random id, created with the database. It separates deployments that share a Redis
   * server. A copy of the database has the same id until the command `renew-epoch --new-deployment`.
   */
  readonly deployment: string;
  /**
   * The store's random epoch, renewed when committed data may be lost: seqs, ids and login epochs may repeat.
   */
  readonly epoch: string;
}

/** A conversation from the view of one of its users: the other user's id, or minus a group's id. */
export type Peer = number;

/** A message to store. */
export interface NewMessage {
  readonly sender: number;
  readonly peer: Peer;
  /** The client message id, an idempotency key: the same (sender, cid) is the same message (invariant I5). */
  readonly cid: string;
  readonly body: string;
  /** Milliseconds since 1970, UTC. */
  readonly time: number;
  /** Whether the sender has no quota left: the message is then looked up, and rejected if it is new. */
  readonly mustBeDuplicate?: boolean;
}

/** A message of the log. */
export interface StoredMessage {
  /** The position in the conversation: 1, 2, 3, … without a gap (invariant I2). */
  readonly seq: number;
  readonly sender: number;
  readonly senderName: string;
  readonly cid: string;
  readonly body: string;
  readonly time: number;
}

/**
 * The result of storing a {@link NewMessage}. A duplicate has the seq and time of the first message. Time
 * never decreases within a conversation: it is the message's own time, or that of the previous message if
 * that is later.
 */
export interface Appended {
  readonly seq: number;
  readonly time: number;
  readonly duplicate: boolean;
}

/** The reason for which the store rejects a valid operation. */
export interface Rejection {
  readonly refused:
    | "name_in_use"
    | "not_found"
    | "forbidden"
    | "cid_reused"
    | "full"
    | "disk_full"
    | "over_quota";
}

/** A user's account. */
export interface Account {
  readonly id: number;
  readonly name: string;
  /**
   * The password's hash in PHC string format; before it is hashed, {@link PLAINTEXT_PREFIX} and the password.
   */
  readonly password: string;
  /** `User.state`: online from a login to its end, or until a node detects the crash of the login's node. */
  readonly online: boolean;
}

/** Marks a password that was migrated from a server without password hashes. */
export const PLAINTEXT_PREFIX = "$plain$";

/** Lengths in hex digits: MySQL's old hash or half an MD5, MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512. */
const HEX_LENGTHS = [16, 32, 40, 56, 64, 96, 128].map((length) => `[0-9a-fA-F]{${length}}`).join("|");

/** Lengths in base64 with padding: MD5, SHA-1, SHA-224, SHA-256, SHA-512. */
const BASE64_LENGTHS = ["{22}==", "{27}=", "{38}==", "{43}=", "{86}=="].map((end) => `[A-Za-z0-9+/]${end}`)
  .join("|");

/** The beginning of hashes that name their method, as in crypt(3) and PHC strings. */
const METHOD_PREFIX = "[$](1|2[abxy]?|5|6|7|y|scrypt|argon2[a-z]*|pbkdf2[-a-z0-9]*)[$]";

/**
 * Matches hashes of other programs, in the syntax that JavaScript and MySQL share. Such a hash must not be
 * migrated as a plaintext password: the hash itself would then be the password.
 */
export const FOREIGN_HASH_PATTERN =
  `^((0x)?(${HEX_LENGTHS})|${BASE64_LENGTHS}|[*][0-9a-fA-F]{40}|${METHOD_PREFIX}.*)$`;

/**
 * A login of an account. Its epoch, a fencing token, is higher than those of all earlier logins. The store
 * rejects writes with an older epoch, so that a frozen or partitioned node cannot overwrite newer state.
 */
export interface Login {
  readonly user: number;
  readonly loginEpoch: number;
}

/** A session that survives its connections. An account has at most one; a new session replaces it. */
export interface SavedSession {
  readonly user: number;
  readonly name: string;
  /** SHA-256 of the token's secret. */
  readonly tokenHash: Uint8Array;
  /** Milliseconds since 1970, UTC. */
  readonly expires: number;
}

/** A member of a group. */
export interface Member {
  readonly id: number;
  readonly name: string;
  readonly role: "creator" | "normal";
}

/** A group of a user. */
export interface Group {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  /** The number of members. */
  readonly members: number;
  /** The first members: the creator, then the others by id. */
  readonly users: readonly Member[];
}

/** A user's friends and groups, both in the order of their ids. */
export interface Contacts {
  readonly friends: readonly { readonly id: number; readonly name: string }[];
  readonly groups: readonly Group[];
}

/** A conversation with messages after the user's cursor. */
export interface Unread {
  readonly peer: Peer;
  /** The seq up to which the user acknowledged the conversation with DELIVERED. */
  readonly cursor: number;
  /** The conversation's last seq. */
  readonly last: number;
  /** The time of the first message after the cursor. */
  readonly since: number;
}

/** A part of a conversation, in seq order. */
export interface Page {
  /** The seq after which the page begins. */
  readonly after: number;
  readonly messages: readonly StoredMessage[];
}

/** A new position of a user's cursor. */
export interface CursorUpdate {
  readonly user: number;
  readonly peer: Peer;
  readonly seq: number;
}

/** A failed operation: storage is not reachable or failed. The operation may or may not be committed. */
export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
}

/** Limits that the store enforces. The configuration has their values and reasons. */
export interface StoreLimits {
  readonly friendsPerUser: number;
  readonly groupsPerUser: number;
  readonly membersPerGroup: number;
}

/**
 * Durable storage. Every method rejects with {@link StoreUnavailableError} when storage is not reachable.
 * Messages of one conversation, and logins of one account, are committed in the order of the calls. Await
 * other changes whose order matters. A fulfilled promise of a change means that the change is committed with
 * full durability (invariant I1).
 */
export interface Store {
  /**
   * Creates an account. `name_in_use`: the name is in use. Names are compared by code points, so that names with
   * other case or accents are different. Names that differ in trailing spaces only may count as equal.
   */
  createUser(name: string, passwordHash: string): Promise<{ id: number } | Rejection>;
  findUser(by: { id: number } | { name: string }): Promise<Account | undefined>;
  /** Replaces the password's hash if it still is `expectedHash`. */
  setPassword(user: number, passwordHash: string, expectedHash: string): Promise<void>;
  /** Returns accounts whose password is not hashed, in id order: ids above `after`, at most `limit`. */
  plaintextAccounts(after: number, limit: number): Promise<readonly Account[]>;

  /**
   * Claims the account for a new login: sets its state to online and returns the login's epoch. With
   * `tokenHash`, claims it only if that still is the hash of the saved session. Returns 0 if the user does
   * not exist or the hash differs.
   */
  claimAccount(user: number, tokenHash?: Uint8Array): Promise<number>;
  /** Releases accounts: sets the state to offline where the login still is the account's last. */
  releaseAccounts(logins: readonly Login[]): Promise<void>;
  /** Reclaims released accounts: sets the state to online where the login still is the account's last. */
  reclaimAccounts(logins: readonly Login[]): Promise<void>;
  /** Returns the epoch of each user's last login; 0 for a user without one. */
  latestLoginEpochs(users: readonly number[]): Promise<ReadonlyMap<number, number>>;
  /** Returns the last logins of online accounts, in id order: ids above `after`, at most `limit`. */
  onlineLogins(after: number, limit: number): Promise<readonly Login[]>;

  /** Replaces the account's session if the login still is the account's last. Returns whether it did. */
  saveSession(login: Login, tokenHash: Uint8Array, expires: number): Promise<boolean>;
  findSession(user: number): Promise<SavedSession | undefined>;
  /** Deletes the account's session if the login still is the account's last. */
  deleteSession(login: Login): Promise<void>;

  /** Adds a friend; a repetition is no error. `not_found`: no such user; `full`: the user's list is full. */
  addFriend(user: number, friend: number): Promise<{ name: string } | Rejection>;
  /** Returns the users that have `user` as a friend, in id order: ids above `after`, at most `limit`. */
  followers(user: number, after: number, limit: number): Promise<readonly number[]>;
  /** Returns the friends of each user. */
  friendsOf(users: readonly number[]): Promise<readonly { readonly user: number; readonly friend: number }[]>;
  contacts(user: number, usersPerGroup: number): Promise<Contacts>;

  /** Creates a group with its creator. `name_in_use`: the name is in use; `full`: the creator's list is full. */
  createGroup(creator: number, name: string, description: string): Promise<{ id: number } | Rejection>;
  /**
   * Adds a member, whose cursor is at the group's last message; a repetition is no error. `not_found`: the
   * group does not exist; `full`: the group or the user's list of groups is full.
   */
  joinGroup(user: number, group: number): Promise<{ name: string } | Rejection>;
  /**
   * Returns members in id order: ids above `after`, at most `limit`. `not_found`: the group does not exist;
   * `forbidden`: `user` is not a member.
   */
  members(user: number, group: number, after: number, limit: number): Promise<readonly Member[] | Rejection>;

  /**
   * Stores a message with the conversation's next seq. `not_found`: the peer does not exist; `forbidden`: the
   * sender is not a member of the group; `cid_reused`: the cid belongs to a message in another conversation;
   * `disk_full`: the disk's free space is below the limit; `over_quota`: `mustBeDuplicate` is set, and the
   * message is new.
   */
  append(message: NewMessage): Promise<Appended | Rejection>;
  /**
   * Tells the store of a hint that another node has committed a message to `recipient`. The next message of
   * the conversation may then be stored sooner. Its correctness must not depend on the hint.
   */
  noteCommitted?(recipient: number, message: StoredMessage): void;
  /**
   * Moves cursors forward, never back. Ignores unknown cursors, and seqs beyond the conversation's last one.
   * A client with such a seq received messages that the store lost, and their successors must not count as
   * delivered.
   */
  advanceCursors(updates: readonly CursorUpdate[]): Promise<void>;
  /** Returns conversations with unread messages, at most `limit`: the oldest unread message first. */
  unread(user: number, limit: number): Promise<readonly Unread[]>;
  /** Returns those of the users that have messages after their cursors. */
  usersWithUnread(users: readonly number[]): Promise<readonly number[]>;
  /**
   * Returns messages after the seq `after` (undefined: the user's cursor) in seq order, including the user's
   * own. A page has at most `limit` messages and `maxBytes` of UTF-8 in their bodies, but at least one
   * message. The page is empty if the conversation does not exist or the user has no cursor in it.
   */
  read(user: number, peer: Peer, after: number | undefined, limit: number, maxBytes: number): Promise<Page>;
  /**
   * Returns the last messages before the seq `before` (undefined: the newest), in seq order, with the limits
   * of `read`. `not_found`: the peer does not exist; `forbidden`: the user is not a member of the group.
   */
  history(
    user: number,
    peer: Peer,
    before: number | undefined,
    limit: number,
    maxBytes: number,
  ): Promise<readonly StoredMessage[] | Rejection>;

  /** Returns the secret by which nodes of the deployment authenticate hints: 64 hexadecimal digits. */
  clusterKey(): Promise<string>;
  /** Returns the current identity. */
  identity(): Promise<StoreIdentity>;
  /**
   * Renews the epoch if it still is `expectedEpoch`, after a loss of data. Several nodes may call it at once.
   */
  renewEpoch(expectedEpoch: string): Promise<void>;
  /**
   * Accepts changes in this epoch from now on, and drops the log's caches. Before that call, changes are
   * rejected with {@link StoreUnavailableError} if the database's epoch differs from the one at its opening.
   */
  adoptEpoch(epoch: string): void;

  /** Waits for the calls in progress, then releases all resources. */
  close(): Promise<void>;
}
