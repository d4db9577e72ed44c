/** The store's reads, on the database thread. */
import type { DatabaseSync } from "node:sqlite";
import {
  type Account,
  type Contacts,
  type Group,
  type Login,
  type Member,
  type Page,
  type Peer,
  PLAINTEXT_PREFIX,
  type Rejection,
  type SavedSession,
  type StoredMessage,
  type StoreIdentity,
  type Unread,
} from "../store.ts";
import type { ReadName, SyncOperations } from "./operations.ts";
import { type ConversationKey, conversationKey, peerOf } from "../conversation.ts";
import { MessageLog } from "./message_log.ts";
import type { Memtable } from "./memtable.ts";
import { textOf } from "../text.ts";

/** A conversation from the view of one of its members. */
interface Membership {
  readonly user: number;
  readonly key: ConversationKey;
  /** The seq up to which the user acknowledged the conversation. */
  readonly cursor: number;
  /** The conversation's last seq. */
  readonly last: number;
}

type Row = Record<string, unknown>;

/** The reads of {@link Store}. Use them between transactions, so that they show committed data only. */
export class Reads implements SyncOperations<ReadName> {
  readonly #log: MessageLog;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync, memtable: Memtable) {
    this.#log = new MessageLog(db, memtable);
    this.#sql = prepare(db);
  }

  findUser(by: { id: number } | { name: string }): Account | undefined {
    const row = "id" in by ? this.#sql.userById.get(by.id) : this.#sql.userByName.get(by.name);
    return row && accountOf(row);
  }

  clusterKey(): string {
    return this.#sql.clusterKey.get()!.secret as string;
  }

  identity(): StoreIdentity {
    return this.#sql.identity.get() as unknown as StoreIdentity;
  }

  plaintextAccounts(after: number, limit: number): Account[] {
    return this.#sql.plaintextAccounts.all(after, limit).map(accountOf);
  }

  latestLoginEpochs(users: readonly number[]): Map<number, number> {
    const rows = this.#sql.latestLoginEpochs.all(JSON.stringify(users));
    return new Map(rows.map(({ id, logins }) => [id as number, logins as number]));
  }

  onlineLogins(after: number, limit: number): Login[] {
    return this.#sql.onlineLogins.all(after, limit) as unknown as Login[];
  }

  findSession(user: number): SavedSession | undefined {
    return this.#sql.session.get(user) as SavedSession | undefined;
  }

  followers(user: number, after: number, limit: number): number[] {
    return this.#sql.followers.all(user, after, limit).map((row) => row.userid as number);
  }

  friendsOf(users: readonly number[]): { user: number; friend: number }[] {
    return this.#sql.friendsOf.all(JSON.stringify(users)) as unknown as { user: number; friend: number }[];
  }

  contacts(user: number, usersPerGroup: number): Contacts {
    return {
      friends: this.#sql.friends.all(user) as unknown as Contacts["friends"],
      groups: this.#sql.groups.all(user).map((row) => this.#group(row, usersPerGroup)),
    };
  }

  members(user: number, group: number, after: number, limit: number): Member[] | Rejection {
    return this.#accessRejection(user, -group) ??
      this.#sql.members.all(group, after, limit) as unknown as Member[];
  }

  unread(user: number, limit: number): Unread[] {
    return this.#conversationsOf([user])
      .flatMap(({ key, cursor, last }) => {
        const since = this.#since(key, cursor, last);
        return since === undefined ? [] : [{ key, cursor, last, since }];
      })
      .sort((a, b) => a.since - b.since || a.key[0] - b.key[0] || a.key[1] - b.key[1])
      .slice(0, limit)
      .map(({ key, ...rest }) => ({ peer: peerOf(user, key), ...rest }));
  }

  usersWithUnread(users: readonly number[]): number[] {
    const unread = this.#conversationsOf(users)
      .filter(({ key, cursor, last }) => this.#since(key, cursor, last) !== undefined);
    return [...new Set(unread.map(({ user }) => user))];
  }

  read(user: number, peer: Peer, after: number | undefined, limit: number, maxBytes: number): Page {
    const key = conversationKey(user, peer);
    const cursor = this.#sql.cursor.get(user, ...key)?.seq as number | undefined;
    if (cursor === undefined) return { after: after ?? 0, messages: [] };
    const start = after ?? cursor;
    return { after: start, messages: this.#log.after(key, start, limit, maxBytes) };
  }

  history(
    user: number,
    peer: Peer,
    before: number | undefined,
    limit: number,
    maxBytes: number,
  ): StoredMessage[] | Rejection {
    const rejection = this.#accessRejection(user, peer);
    if (rejection) return rejection;
    return this.#log.before(conversationKey(user, peer), before ?? Number.MAX_SAFE_INTEGER, limit, maxBytes)
      .reverse();
  }

  /**
   * Returns the time of the first message after a cursor; undefined if there is none, also after deletions.
   */
  #since(key: ConversationKey, cursor: number, last: number): number | undefined {
    return last > cursor ? this.#log.timeAfter(key, cursor) : undefined;
  }

  #conversationsOf(users: readonly number[]): Membership[] {
    return this.#sql.conversations.all(JSON.stringify(users)).map(({ user, low, high, cursor, lastSeq }) => {
      const key = [low as number, high as number] as const;
      const last = this.#log.lastSeq(key, lastSeq as number);
      return { user: user as number, key, cursor: cursor as number, last };
    });
  }

  #group({ id, name, description, members }: Row, usersPerGroup: number): Group {
    return {
      id: id as number,
      name: name as string,
      description: textOf(description),
      members: members as number,
      users: this.#sql.firstMembers.all(id as number, usersPerGroup) as unknown as Member[],
    };
  }

  /** Returns the rejection if the user may not read a conversation. */
  #accessRejection(user: number, peer: Peer): Rejection | undefined {
    if (peer > 0) return this.#sql.userById.get(peer) ? undefined : { refused: "not_found" };
    if (this.#sql.isMember.get(-peer, user)) return undefined;
    return { refused: this.#sql.groupExists.get(-peer) ? "forbidden" : "not_found" };
  }
}

function accountOf({ id, name, password, state }: Row): Account {
  return { id: id as number, name: name as string, password: password as string, online: state === "online" };
}

const SELECT_ACCOUNT = "SELECT id, name, password, state FROM User";

function prepare(db: DatabaseSync) {
  return {
    userById: db.prepare(`${SELECT_ACCOUNT} WHERE id = ?`),
    userByName: db.prepare(`${SELECT_ACCOUNT} WHERE name = ?`),
    plaintextAccounts: db.prepare(
      `${SELECT_ACCOUNT} WHERE id > ? AND password GLOB '${PLAINTEXT_PREFIX}*' ORDER BY id LIMIT ?`,
    ),
    clusterKey: db.prepare("SELECT secret FROM ClusterKey"),
    identity: db.prepare("SELECT deployment, epoch FROM StoreIdentity"),
    latestLoginEpochs: db.prepare("SELECT id, logins FROM User WHERE id IN (SELECT value FROM json_each(?))"),
    onlineLogins: db.prepare(
      "SELECT id AS user, logins AS loginEpoch FROM User WHERE state = 'online' AND id > ? ORDER BY id LIMIT ?",
    ),
    session: db.prepare(
      `SELECT id AS user, name, token_hash AS tokenHash, expires
       FROM Session JOIN User ON id = userid WHERE userid = ?`,
    ),

    followers: db.prepare(
      "SELECT userid FROM Friend WHERE friendid = ? AND userid > ? ORDER BY userid LIMIT ?",
    ),
    friendsOf: db.prepare(
      "SELECT userid AS user, friendid AS friend FROM Friend WHERE userid IN (SELECT value FROM json_each(?))",
    ),
    friends: db.prepare(
      "SELECT id, name FROM Friend JOIN User ON id = friendid WHERE userid = ? ORDER BY friendid",
    ),

    groups: db.prepare(
      `SELECT id, groupname AS name, CAST(groupdesc AS BLOB) AS description, members
       FROM GroupUser JOIN AllGroup ON id = groupid WHERE userid = ? ORDER BY groupid`,
    ),
    groupExists: db.prepare("SELECT 1 FROM AllGroup WHERE id = ?"),
    isMember: db.prepare("SELECT 1 FROM GroupUser WHERE groupid = ? AND userid = ?"),
    // "creator" sorts before "normal"
    firstMembers: db.prepare(
      `SELECT id, name, grouprole AS role
       FROM GroupUser JOIN User ON id = userid WHERE groupid = ? ORDER BY grouprole, userid LIMIT ?`,
    ),
    members: db.prepare(
      `SELECT id, name, grouprole AS role
       FROM GroupUser JOIN User ON id = userid WHERE groupid = ? AND userid > ? ORDER BY userid LIMIT ?`,
    ),

    conversations: db.prepare(
      `SELECT userid AS user, low, high, seq AS cursor, coalesce(last_seq, (
         SELECT max(seq) FROM Message WHERE low = MemberCursor.low AND high = MemberCursor.high
       ), 0) AS lastSeq
       FROM json_each(?) CROSS JOIN MemberCursor ON userid = value LEFT JOIN Conversation USING (low, high)`,
    ),
    cursor: db.prepare("SELECT seq FROM MemberCursor WHERE userid = ? AND low = ? AND high = ?"),
  };
}
