/** The store's changes, on the database thread. They run inside a batch's transaction. */
import type { DatabaseSync } from "node:sqlite";
import type { Appended, Login, Peer, Rejection, StoreLimits } from "../store.ts";
import type { ChangeName, SyncOperations } from "./operations.ts";
import type { FreeSpace } from "./free_space.ts";
import { type ConversationKey, conversationKey, conversationName } from "../conversation.ts";
import { newId } from "../../new_id.ts";
import type { Memtable, RecentMessage } from "./memtable.ts";

/** The columns of a `Message` row that identify a duplicate. */
type MessageRow = {
  readonly low: number;
  readonly high: number;
  readonly seq: number;
  readonly time: number;
};

/** The state of a conversation within the batch. */
interface Conversation {
  readonly key: ConversationKey;
  lastSeq: number;
  lastTime: number; // of the last message that is not deleted; 0 if there is none
}

/**
 * The changes of {@link Store}. Make any number of them in one transaction, and call `clearCache` after it.
 */
export class Changes implements SyncOperations<ChangeName> {
  readonly #limits: StoreLimits;
  readonly #memtable: Memtable;
  readonly #space: Pick<FreeSpace, "isLow">;
  readonly #sql: ReturnType<typeof prepare>;
  /** The conversations that the batch has read or changed, by {@link conversationName}. */
  readonly #conversations = new Map<string, Conversation>();
  /** The same conversations by sender and peer, for senders whose permission the batch has checked. */
  readonly #routes = new Map<string, Conversation>();

  constructor(
    db: DatabaseSync,
    memtable: Memtable,
    limits: StoreLimits,
    space: Pick<FreeSpace, "isLow">,
  ) {
    this.#space = space;
    this.#memtable = memtable;
    this.#limits = limits;
    this.#sql = prepare(db);
  }

  createUser(name: string, passwordHash: string): { id: number } | Rejection {
    if (this.#sql.userNamed.get(name)) return { refused: "name_in_use" }; // a failed INSERT uses up an id
    return { id: Number(this.#sql.createUser.run(name, passwordHash).lastInsertRowid) };
  }

  setPassword(user: number, passwordHash: string, expectedHash: string): void {
    this.#sql.setPassword.run(passwordHash, user, expectedHash);
  }

  claimAccount(user: number, tokenHash?: Uint8Array): number {
    if (tokenHash && !this.#sql.hasToken.get(user, tokenHash)) return 0;
    return (this.#sql.claimAccount.get(user)?.logins ?? 0) as number;
  }

  releaseAccounts(logins: readonly Login[]): void {
    for (const { user, loginEpoch } of logins) this.#sql.releaseAccount.run(user, loginEpoch);
  }

  reclaimAccounts(logins: readonly Login[]): void {
    for (const { user, loginEpoch } of logins) this.#sql.reclaimAccount.run(user, loginEpoch);
  }

  saveSession({ user, loginEpoch }: Login, tokenHash: Uint8Array, expires: number): boolean {
    return this.#sql.saveSession.run(tokenHash, expires, user, loginEpoch).changes > 0;
  }

  deleteSession({ user, loginEpoch }: Login): void {
    this.#sql.deleteSession.run(user, loginEpoch);
  }

  addFriend(user: number, friend: number): { name: string } | Rejection {
    const name = this.#sql.userName.get(friend)?.name as string | undefined;
    if (name === undefined) return { refused: "not_found" };
    if (this.#sql.isFriend.get(user, friend)) return { name };
    if (countOf(this.#sql.countFriends.get(user)) >= this.#limits.friendsPerUser) return { refused: "full" };
    this.#sql.addFriend.run(user, friend);
    return { name };
  }

  createGroup(creator: number, name: string, description: string): { id: number } | Rejection {
    if (this.#sql.groupNamed.get(name)) return { refused: "name_in_use" };
    if (this.#isAtGroupLimit(creator)) return { refused: "full" };
    const id = Number(this.#sql.createGroup.run(name, description).lastInsertRowid);
    this.#sql.addMember.run(id, creator, "creator");
    this.#sql.createConversation.run(0, id);
    this.#sql.setCursor.run(creator, 0, id, 0);
    return { id };
  }

  joinGroup(user: number, group: number): { name: string } | Rejection {
    const row = this.#sql.group.get(group) as { name: string; members: number } | undefined;
    if (!row) return { refused: "not_found" };
    const { name, members } = row;
    if (this.#sql.isMember.get(group, user)) return { name };
    if (members >= this.#limits.membersPerGroup || this.#isAtGroupLimit(user)) return { refused: "full" };
    this.#sql.addMember.run(group, user, "normal");
    this.#sql.setCursor.run(user, 0, group, this.#conversation([0, group])?.lastSeq ?? 0);
    return { name };
  }

  append(
    sender: number,
    peer: Peer,
    cid: string,
    body: string,
    time: number,
    mustBeDuplicate = false,
  ): number | Appended | Rejection {
    const conversation = this.#routes.get(`${sender} ${peer}`) ?? this.#route(sender, peer);
    if ("refused" in conversation) return conversation;
    const { key } = conversation;
    const seq = conversation.lastSeq + 1;
    const storedTime = Math.max(time, conversation.lastTime); // time never decreases within a conversation
    const first = this.#memtable.find(sender, cid) ?? this.#compacted(sender, cid);
    if (first) return duplicateOf(key, first);
    if (mustBeDuplicate || this.#space.isLow) {
      return { refused: mustBeDuplicate ? "over_quota" : "disk_full" };
    }
    this.#memtable.add({ key, seq, sender, cid, body, time: storedTime });
    conversation.lastSeq = seq;
    conversation.lastTime = storedTime;
    return storedTime === time ? seq : { seq, time: storedTime, duplicate: false };
  }

  renewEpoch(expectedEpoch: string): void {
    this.#sql.renewEpoch.run(newId(), expectedEpoch);
  }

  advanceCursors(updates: readonly number[]): void {
    for (let at = 0; at < updates.length; at += 3) {
      const [user, peer, seq] = updates.slice(at, at + 3) as [number, Peer, number];
      const key = conversationKey(user, peer);
      const conversation = this.#conversation(key);
      if (conversation && seq <= conversation.lastSeq) this.#sql.advanceCursor.run(seq, user, ...key);
    }
  }

  /** Drops the batch's state of conversations. */
  clearCache(): void {
    this.#conversations.clear();
    this.#routes.clear();
  }

  /** Returns the sender's compacted message with this cid, if there is one. */
  #compacted(sender: number, cid: string): Pick<RecentMessage, "key" | "seq" | "time"> | undefined {
    const row = this.#sql.messageOf.get(sender, cid) as MessageRow | undefined;
    return row && { key: [row.low, row.high], seq: row.seq, time: row.time };
  }

  /** Returns the conversation if `sender` may send to `peer`. The first message of two users creates it. */
  #route(sender: number, peer: Peer): Conversation | Rejection {
    if (peer < 0 && !this.#sql.isMember.get(-peer, sender)) {
      return { refused: this.#sql.group.get(-peer) ? "forbidden" : "not_found" };
    }
    const key = conversationKey(sender, peer);
    const conversation = this.#conversation(key) ?? this.#createConversation(key);
    if (!conversation) return { refused: "not_found" };
    this.#routes.set(`${sender} ${peer}`, conversation);
    return conversation;
  }

  /**
   * Creates the conversation of two users if both exist. A group's conversation is created with the group,
   * and again here if an operator deleted its row.
   */
  #createConversation(key: ConversationKey): Conversation | undefined {
    const [low, high] = key;
    if (low === 0) {
      if (!this.#sql.group.get(high)) return undefined;
      this.#sql.restoreConversation.run(...key, 0);
      return this.#conversation(key);
    }
    const users = new Set(key);
    if (countOf(this.#sql.countUsers.get(...key)) < users.size) return undefined;
    this.#sql.restoreConversation.run(...key, 0);
    for (const user of users) this.#sql.createCursor.run(user, ...key);
    return this.#conversation(key);
  }

  /** Recreates a conversation's row that an operator deleted. No seq is assigned twice after it. */
  #restoreConversation(key: ConversationKey): number | undefined {
    const last = this.#sql.recoverLastSeq.get(...key)!.last as number;
    if (last === 0) return undefined;
    this.#sql.restoreConversation.run(...key, last);
    return last;
  }

  #conversation(key: ConversationKey): Conversation | undefined {
    const name = conversationName(key);
    const known = this.#conversations.get(name);
    if (known) return known;
    const last = this.#memtable.lastSeq(key) ??
      this.#sql.lastSeq.get(...key)?.last_seq as number | undefined ?? this.#restoreConversation(key);
    if (last === undefined) return undefined;
    const time = (this.#memtable.messages(key).at(-1) ?? this.#sql.lastTime.get(...key))?.time ?? 0;
    const conversation: Conversation = { key, lastSeq: last, lastTime: time as number };
    this.#conversations.set(name, conversation);
    return conversation;
  }

  #isAtGroupLimit(user: number): boolean {
    return countOf(this.#sql.countGroups.get(user)) >= this.#limits.groupsPerUser;
  }
}

/** Returns the result for a cid that the sender has used before (invariant I5). */
function duplicateOf(
  key: ConversationKey,
  first: Pick<RecentMessage, "key" | "seq" | "time">,
): Appended | Rejection {
  if (conversationName(first.key) !== conversationName(key)) return { refused: "cid_reused" };
  return { seq: first.seq, time: first.time, duplicate: true };
}

function countOf(row: Record<string, unknown> | undefined): number {
  return row?.count as number;
}

function prepare(db: DatabaseSync) {
  return {
    userNamed: db.prepare("SELECT 1 FROM User WHERE name = ?"),
    createUser: db.prepare("INSERT INTO User (name, password) VALUES (?, ?)"),
    setPassword: db.prepare("UPDATE User SET password = ? WHERE id = ? AND password = ?"),
    userName: db.prepare("SELECT name FROM User WHERE id = ?"),
    countUsers: db.prepare("SELECT count(*) AS count FROM User WHERE id IN (?, ?)"),

    claimAccount: db.prepare(
      "UPDATE User SET logins = logins + 1, state = 'online' WHERE id = ? RETURNING logins",
    ),
    hasToken: db.prepare("SELECT 1 FROM Session WHERE userid = ? AND token_hash = ?"),
    reclaimAccount: db.prepare(
      "UPDATE User SET state = 'online' WHERE id = ? AND logins = ? AND state = 'offline'",
    ),
    releaseAccount: db.prepare("UPDATE User SET state = 'offline' WHERE id = ? AND logins = ?"),
    saveSession: db.prepare(
      `INSERT INTO Session (userid, token_hash, expires) SELECT id, ?, ? FROM User WHERE id = ? AND logins = ?
       ON CONFLICT (userid) DO UPDATE SET token_hash = excluded.token_hash, expires = excluded.expires`,
    ),
    deleteSession: db.prepare(
      "DELETE FROM Session WHERE userid = (SELECT id FROM User WHERE id = ? AND logins = ?)",
    ),

    isFriend: db.prepare("SELECT 1 FROM Friend WHERE userid = ? AND friendid = ?"),
    countFriends: db.prepare("SELECT count(*) AS count FROM Friend WHERE userid = ?"),
    addFriend: db.prepare("INSERT INTO Friend (userid, friendid) VALUES (?, ?)"),

    groupNamed: db.prepare("SELECT 1 FROM AllGroup WHERE groupname = ?"),
    group: db.prepare("SELECT groupname AS name, members FROM AllGroup WHERE id = ?"),
    createGroup: db.prepare("INSERT INTO AllGroup (groupname, groupdesc) VALUES (?, ?)"),
    isMember: db.prepare("SELECT 1 FROM GroupUser WHERE groupid = ? AND userid = ?"),
    countGroups: db.prepare("SELECT count(*) AS count FROM GroupUser WHERE userid = ?"),
    addMember: db.prepare("INSERT INTO GroupUser (groupid, userid, grouprole) VALUES (?, ?, ?)"),

    renewEpoch: db.prepare("UPDATE StoreIdentity SET epoch = ? WHERE epoch = ?"),

    lastSeq: db.prepare("SELECT last_seq FROM Conversation WHERE low = ? AND high = ?"),
    createConversation: db.prepare("INSERT INTO Conversation (low, high, last_seq) VALUES (?, ?, 0)"),
    restoreConversation: db.prepare("INSERT INTO Conversation (low, high, last_seq) VALUES (?, ?, ?)"),
    lastTime: db.prepare("SELECT time FROM Message WHERE low = ? AND high = ? ORDER BY seq DESC LIMIT 1"),
    recoverLastSeq: db.prepare(
      `SELECT max(
         coalesce((SELECT max(seq) FROM Message WHERE low = ?1 AND high = ?2), 0),
         coalesce((
           SELECT max(seq) FROM MemberCursor WHERE low = ?1 AND high = ?2 AND userid IN (
             SELECT ?1 UNION SELECT ?2 UNION SELECT userid FROM GroupUser WHERE ?1 = 0 AND groupid = ?2
           )
         ), 0)
       ) AS last`,
    ),
    createCursor: db.prepare(
      "INSERT INTO MemberCursor (userid, low, high, seq) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING",
    ),
    messageOf: db.prepare("SELECT low, high, seq, time FROM Message WHERE sender = ? AND cid = ?"),
    setCursor: db.prepare(
      `INSERT INTO MemberCursor (userid, low, high, seq) VALUES (?, ?, ?, ?)
       ON CONFLICT (userid, low, high) DO UPDATE SET seq = excluded.seq`,
    ),
    advanceCursor: db.prepare(
      "UPDATE MemberCursor SET seq = ?1 WHERE userid = ?2 AND low = ?3 AND high = ?4 AND seq < ?1",
    ),
  };
}
