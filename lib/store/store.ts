/**
 * The port to durable storage. The message log behind it is the source of truth; every implementation
 * passes the one suite in tests/store/store_contract.ts.
 */

/** Which store this is, and which history it has. */
export interface StoreIdentity {
  /**
   * Random, made once with the database: other deployments on the same Redis have another one. A copy of the database
   * has the same until `renew-epoch --new-deployment` gives it one of its own.
   */
  readonly deployment: string;
  /** Random, renewed whenever data that was committed may be gone: seqs, ids and logins count anew from then on. */
  readonly epoch: string;
}

/**
 * One of a user's conversations, named as that user sees it: a positive number is the other user's id, a
 * negative one is minus a group's id.
 */
export type Peer = number;

/** A message that is to be stored. */
export interface NewMessage {
  readonly sender: number;
  readonly peer: Peer;
  /** The sender's own id for it. The same (sender, cid) again is the same message (invariant I5). */
  readonly cid: string;
  readonly body: string;
  /** Milliseconds since 1970, UTC. */
  readonly time: number;
  /** Set for a sender who may store nothing more: the message is looked up, and refused if it isn't there. */
  readonly mustBeDuplicate?: boolean;
}

/** A message as the log has it. */
export interface StoredMessage {
  /** 1, 2, 3, … in its conversation, with no gap (invariant I2). */
  readonly seq: number;
  readonly sender: number;
  readonly senderName: string;
  readonly cid: string;
  readonly body: string;
  readonly time: number;
}

/**
 * What became of a {@link NewMessage}: the first one's seq and time, if it is a repeat. The time is the message's own,
 * or that of the one before it if that is later: within a conversation it never decreases.
 */
export interface Appended {
  readonly seq: number;
  readonly time: number;
  readonly duplicate: boolean;
}

/** Why the store won't do a thing that was asked for properly. */
export interface Rejection {
  readonly refused: "taken" | "not_found" | "forbidden" | "cid_reused" | "full" | "disk_full" | "over_quota";
}

/** A user's account. */
export interface Account {
  readonly id: number;
  readonly name: string;
  /** The password's hash, in PHC string form; or, until it is hashed, {@link PLAINTEXT_PREFIX} and the password itself. */
  readonly password: string;
  /** `User.state`: online from a login's beginning to its end, or to when its node is found to have crashed. */
  readonly online: boolean;
}

/** Marks a password that was taken over from a server that didn't hash it. */
export const PLAINTEXT_PREFIX = "$plain$";

/** Hex digits of MySQL's old hash and a shortened MD5, of MD5, SHA-1, SHA-224, SHA-256, SHA-384 and SHA-512. */
const HEX_LENGTHS = [16, 32, 40, 56, 64, 96, 128].map((length) => `[0-9a-fA-F]{${length}}`).join("|");

/** The same in base64, where padding tells it apart: MD5, SHA-1, SHA-224, SHA-256 and SHA-512. */
const BASE64_LENGTHS = ["{22}==", "{27}=", "{38}==", "{43}=", "{86}=="].map((end) => `[A-Za-z0-9+/]${end}`)
  .join("|");

/** How hashes begin that carry their method in front, as crypt(3) and PHC write them. */
const METHOD_PREFIX = "[$](1|2[abxy]?|5|6|7|y|scrypt|argon2[a-z]*|pbkdf2[-a-z0-9]*)[$]";

/** What hashes of other programs look like, for JavaScript and MySQL alike: taken for plain text, they would log in. */
export const FOREIGN_HASH_PATTERN =
  `^((0x)?(${HEX_LENGTHS})|${BASE64_LENGTHS}|[*][0-9a-fA-F]{40}|${METHOD_PREFIX}.*)$`;

/**
 * One login of an account. Each has a number, which is higher than that of any earlier one: the account is the last
 * one's, whatever nodes that were cut off or frozen meanwhile believe.
 */
export interface Login {
  readonly user: number;
  readonly loginEpoch: number;
}

/** A session that outlives its connections. Each account has at most one; a new one replaces it. */
export interface SavedSession {
  readonly user: number;
  readonly name: string;
  /** SHA-256 of the token's secret. */
  readonly tokenHash: Uint8Array;
  /** Milliseconds since 1970, UTC. */
  readonly expires: number;
}

/** A group's member. */
export interface Member {
  readonly id: number;
  readonly name: string;
  readonly role: "creator" | "normal";
}

/** A group that a user is a member of. */
export interface Group {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  /** How many members it has. */
  readonly members: number;
  /** The first of them: the creator, then the others by id. */
  readonly users: readonly Member[];
}

/** Whom a user has as friends, and which groups the user is in: both by id. */
export interface Contacts {
  readonly friends: readonly { readonly id: number; readonly name: string }[];
  readonly groups: readonly Group[];
}

/** A conversation with messages after the user's cursor. */
export interface Unread {
  readonly peer: Peer;
  /** Up to here the user has said DELIVERED. */
  readonly cursor: number;
  /** The conversation's last seq. */
  readonly last: number;
  /** The time of the first message after the cursor. */
  readonly since: number;
}

/** A piece of a conversation in seq order. */
export interface Page {
  /** The seq after which the page begins. */
  readonly after: number;
  readonly messages: readonly StoredMessage[];
}

/** How far a user has a conversation. */
export interface CursorUpdate {
  readonly user: number;
  readonly peer: Peer;
  readonly seq: number;
}

/** Storage can't be reached, or gave up: nothing of what was asked has been accepted as far as is known. */
export class StoreUnavailableError extends Error {
  override readonly name = "StoreUnavailableError";
}

/** How much of a thing there may be; see the configuration for the values and their reasons. */
export interface StoreLimits {
  readonly friendsPerUser: number;
  readonly groupsPerUser: number;
  readonly membersPerGroup: number;
}

/**
 * Durable storage. Every method rejects with {@link StoreUnavailableError} when storage can't be reached. Calls are
 * carried out in the order they are made as far as they change the same thing (a new member's messages come after the
 * joining is fulfilled); a promise that is fulfilled for
 * a change means that it is committed with full durability (invariant I1).
 */
export interface Store {
  /**
   * Makes an account. `taken`: the name is in use. Names are compared as code points, so that case and accents tell
   * them apart; blanks at the end may or may not.
   */
  createUser(name: string, passwordHash: string): Promise<{ id: number } | Rejection>;
  findUser(by: { id: number } | { name: string }): Promise<Account | undefined>;
  /** Changes the password to a new hash, if it still is `was`. */
  setPassword(user: number, passwordHash: string, expectedHash: string): Promise<void>;
  /** Accounts whose password is still {@link PLAINTEXT_PREFIX}: by id above `after`, at most `limit`. */
  plaintextAccounts(after: number, limit: number): Promise<readonly Account[]>;

  /**
   * Begins a login, which is the one that counts from now on, and gives its number; the state becomes online. With a
   * token's hash it begins only if that still is the saved session's. 0: it has not begun, or there is no such user.
   */
  claimAccount(user: number, tokenHash?: Uint8Array): Promise<number>;
  /** Ends logins: where one still is the account's last, the state becomes offline. */
  releaseAccounts(logins: readonly Login[]): Promise<void>;
  /** Says that logins go on: where one still is the account's last, the state becomes online if the login had been ended. */
  reclaimAccounts(logins: readonly Login[]): Promise<void>;
  /** The number of the last login of each of these users; 0 of who never was logged in. */
  latestLoginEpochs(users: readonly number[]): Promise<ReadonlyMap<number, number>>;
  /** Accounts whose state is online, with their last login: by id above `after`, at most `limit`. */
  onlineLogins(after: number, limit: number): Promise<readonly Login[]>;

  /**
   * Saves the account's session in place of any earlier one, if the login still is the account's last: else it is
   * false and nothing is changed.
   */
  saveSession(login: Login, tokenHash: Uint8Array, expires: number): Promise<boolean>;
  findSession(user: number): Promise<SavedSession | undefined>;
  /** Forgets the account's session, if the login still is the account's last. */
  deleteSession(login: Login): Promise<void>;

  /** Puts `friend` on the user's list; again is no error. `not_found`: no such user; `full`: the list is. */
  addFriend(user: number, friend: number): Promise<{ name: string } | Rejection>;
  /** Who has the user as a friend: ids above `after` in order, at most `limit`. */
  followers(user: number, after: number, limit: number): Promise<readonly number[]>;
  /** Whom each of these users has as friends. */
  friendsOf(users: readonly number[]): Promise<readonly { readonly user: number; readonly friend: number }[]>;
  contacts(user: number, usersPerGroup: number): Promise<Contacts>;

  /** Makes a group with its creator as the first member. `taken`: the name; `full`: the creator's groups. */
  createGroup(creator: number, name: string, description: string): Promise<{ id: number } | Rejection>;
  /**
   * Makes the user a normal member who has missed nothing so far; again is no error. `not_found`: no such
   * group; `full`: the group, or the user's list of groups.
   */
  joinGroup(user: number, group: number): Promise<{ name: string } | Rejection>;
  /** Members by id above `after`, at most `limit`. `not_found`: no such group; `forbidden`: `user` isn't in it. */
  members(user: number, group: number, after: number, limit: number): Promise<readonly Member[] | Rejection>;

  /**
   * Stores a message and gives it the conversation's next seq. `not_found`: no such user or group;
   * `forbidden`: the sender isn't in the group; `cid_reused`: the cid is of a message in another conversation;
   * `disk_full`: there is hardly any room left on the disk; `over_quota`: it is no repeat, as it was said to be.
   */
  append(message: NewMessage): Promise<Appended | Rejection>;
  /**
   * Moves cursors forward, never back. Unknown ones are ignored, and so is a seq beyond the conversation's last one: the
   * client has seen what the store has lost, and what comes in its place must not count as delivered.
   */
  advanceCursors(updates: readonly CursorUpdate[]): Promise<void>;
  /**
   * Conversations with messages after the user's cursor, at most `limit`. The longest waiting comes first, by the
   * time of the first of these messages.
   */
  unread(user: number, limit: number): Promise<readonly Unread[]>;
  /** Which of these users have messages after their cursors. */
  usersWithUnread(users: readonly number[]): Promise<readonly number[]>;
  /**
   * Messages after `after`, or after the user's cursor where `after` is undefined: at most `limit`, and no
   * more than have `maxBytes` of UTF-8 in their bodies together, but at least one. The user's own are among
   * them. A conversation that isn't there, or that the user isn't in, is one without messages.
   */
  read(user: number, peer: Peer, after: number | undefined, limit: number, maxBytes: number): Promise<Page>;
  /**
   * The messages just before seq `before` (the latest where undefined), oldest first, bounded as in `read`.
   * `not_found`: no such user or group; `forbidden`: the user isn't in the group.
   */
  history(
    user: number,
    peer: Peer,
    before: number | undefined,
    limit: number,
    maxBytes: number,
  ): Promise<readonly StoredMessage[] | Rejection>;

  /**
   * The secret by which the nodes of the deployment know each other: 64 hexadecimal digits, made once with the database.
   */
  clusterKey(): Promise<string>;
  /** The identity as the database has it now. */
  identity(): Promise<StoreIdentity>;
  /**
   * Renews the epoch, if it still is `was`: committed data is gone, as after the restore of a backup. Several nodes may
   * ask at once.
   */
  renewEpoch(expectedEpoch: string): Promise<void>;
  /**
   * Changes are made in this epoch from now on. Until it is called, a change is rejected with {@link StoreUnavailableError}
   * once the database's epoch is another than the one that it was opened with. What is cached of the log is dropped.
   */
  adoptEpoch(epoch: string): void;

  /** Waits for what is under way, then lets go of everything. */
  close(): Promise<void>;
}
