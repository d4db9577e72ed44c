/** The store's changes, as they run inside a batch's transaction on the thread that holds the database. */
import type { DatabaseSync } from "node:sqlite";
import type { Appended, Login, Peer, Refused, StoreLimits } from "../store.ts";
import type { ChangeName, Direct } from "./calls.ts";
import type { FreeSpace } from "./free_space.ts";
import { type Key, keyOf } from "../conversation.ts";
import { newId } from "../new_id.ts";
import { nameOf, type RecentMessage, type RecentMessages } from "./memtable.ts";

/** A row of Message. */
type Settled = { readonly low: number; readonly high: number; readonly seq: number; readonly time: number };

/** A conversation that the batch has touched. */
interface Conversation {
  readonly key: Key;
  last: number; // seq
  time: number; // of the last message that is there; 0 if there is none
}

/** Use: any number of changes in one transaction, and `forget` after it. */
export class Changes implements Direct<ChangeName> {
  readonly #limits: StoreLimits;
  readonly #recent: RecentMessages;
  readonly #space: Pick<FreeSpace, "isLow">;
  readonly #sql: ReturnType<typeof prepare>;
  /** What the batch has touched, by key. */
  readonly #conversations = new Map<string, Conversation>();
  /** The same by sender and peer, for those who were found to be allowed to send there. */
  readonly #routes = new Map<string, Conversation>();

  constructor(
    db: DatabaseSync,
    recent: RecentMessages,
    limits: StoreLimits,
    space: Pick<FreeSpace, "isLow">,
  ) {
    this.#space = space;
    this.#recent = recent;
    this.#limits = limits;
    this.#sql = prepare(db);
  }

  createUser(name: string, passwordHash: string): { id: number } | Refused {
    if (this.#sql.userNamed.get(name)) return { refused: "taken" }; // looked up, as a failed INSERT uses up an id
    return { id: Number(this.#sql.createUser.run(name, passwordHash).lastInsertRowid) };
  }

  setPassword(user: number, passwordHash: string, was: string): void {
    this.#sql.setPassword.run(passwordHash, user, was);
  }

  beginLogin(user: number, tokenHash?: Uint8Array): number {
    if (tokenHash && !this.#sql.hasToken.get(user, tokenHash)) return 0;
    return (this.#sql.beginLogin.get(user)?.logins ?? 0) as number;
  }

  endLogins(logins: readonly Login[]): void {
    for (const { user, login } of logins) this.#sql.endLogin.run(user, login);
  }

  resumeLogins(logins: readonly Login[]): void {
    for (const { user, login } of logins) this.#sql.resumeLogin.run(user, login);
  }

  saveSession({ user, login }: Login, tokenHash: Uint8Array, expires: number): boolean {
    return this.#sql.saveSession.run(tokenHash, expires, user, login).changes > 0;
  }

  deleteSession({ user, login }: Login): void {
    this.#sql.deleteSession.run(user, login);
  }

  addFriend(user: number, friend: number): { name: string } | Refused {
    const name = this.#sql.userName.get(friend)?.name as string | undefined;
    if (name === undefined) return { refused: "not_found" };
    if (this.#sql.isFriend.get(user, friend)) return { name };
    if (countOf(this.#sql.countFriends.get(user)) >= this.#limits.friendsPerUser) return { refused: "full" };
    this.#sql.addFriend.run(user, friend);
    return { name };
  }

  createGroup(creator: number, name: string, description: string): { id: number } | Refused {
    if (this.#sql.groupNamed.get(name)) return { refused: "taken" };
    if (this.#hasAllGroups(creator)) return { refused: "full" };
    const id = Number(this.#sql.createGroup.run(name, description).lastInsertRowid);
    this.#sql.addMember.run(id, creator, "creator");
    this.#sql.createConversation.run(0, id);
    this.#sql.setCursor.run(creator, 0, id, 0);
    return { id };
  }

  joinGroup(user: number, group: number): { name: string } | Refused {
    const row = this.#sql.group.get(group) as { name: string; members: number } | undefined;
    if (!row) return { refused: "not_found" };
    const { name, members } = row;
    if (this.#sql.isMember.get(group, user)) return { name };
    if (members >= this.#limits.membersPerGroup || this.#hasAllGroups(user)) return { refused: "full" };
    this.#sql.addMember.run(group, user, "normal");
    this.#sql.setCursor.run(user, 0, group, this.#conversation([0, group])?.last ?? 0);
    return { name };
  }

  append(
    sender: number,
    peer: Peer,
    cid: string,
    body: string,
    time: number,
    isRepeat = false,
  ): number | Appended | Refused {
    const conversation = this.#routes.get(`${sender} ${peer}`) ?? this.#route(sender, peer);
    if ("refused" in conversation) return conversation;
    const { key } = conversation;
    const seq = conversation.last + 1;
    const stamp = Math.max(time, conversation.time); // within a conversation time never decreases
    const first = this.#recent.find(sender, cid);
    if (first) return repeated(key, first);
    if ((isRepeat || this.#space.isLow) && !this.#sql.messageOf.get(sender, cid)) {
      return { refused: isRepeat ? "over_quota" : "disk_full" };
    }
    if (!this.#recent.add({ key, seq, sender, cid, body, time: stamp })) {
      const { low, high, ...first } = this.#sql.messageOf.get(sender, cid) as unknown as Settled;
      return repeated(key, { key: [low, high], ...first });
    }
    conversation.last = seq;
    conversation.time = stamp;
    return stamp === time ? seq : { seq, time: stamp, repeated: false };
  }

  renewEpoch(was: string): void {
    this.#sql.renewEpoch.run(newId(), was);
  }

  delivered(upTo: readonly number[]): void {
    for (let at = 0; at < upTo.length; at += 3) {
      const [user, peer, seq] = upTo.slice(at, at + 3) as [number, Peer, number];
      const key = keyOf(user, peer);
      const conversation = this.#conversation(key);
      if (conversation && seq <= conversation.last) this.#sql.moveCursor.run(seq, user, ...key);
    }
  }

  /** Leaves behind what was known of conversations within the batch. */
  forget(): void {
    this.#conversations.clear();
    this.#routes.clear();
  }

  /** Finds the conversation that `sender` may send to as `peer`; a pair's first message makes it. */
  #route(sender: number, peer: Peer): Conversation | Refused {
    if (peer < 0 && !this.#sql.isMember.get(-peer, sender)) {
      return { refused: this.#sql.group.get(-peer) ? "forbidden" : "not_found" };
    }
    const key = keyOf(sender, peer);
    const conversation = this.#conversation(key) ?? this.#begin(key);
    if (!conversation) return { refused: "not_found" };
    this.#routes.set(`${sender} ${peer}`, conversation);
    return conversation;
  }

  /** Makes a pair's conversation, if both are there; a group has one from the beginning, unless it was deleted. */
  #begin(key: Key): Conversation | undefined {
    const [low, high] = key;
    if (low === 0) {
      if (!this.#sql.group.get(high)) return undefined;
      this.#sql.restoreConversation.run(...key, 0);
      return this.#conversation(key);
    }
    const users = new Set(key);
    if (countOf(this.#sql.countUsers.get(...key)) < users.size) return undefined;
    this.#sql.restoreConversation.run(...key, 0);
    for (const user of users) this.#sql.makeCursor.run(user, ...key);
    return this.#conversation(key);
  }

  /** Makes the row of a conversation anew that an operator has deleted: no seq is given out twice. */
  #restore(key: Key): number | undefined {
    const last = this.#sql.lastLeft.get(...key)!.last as number;
    if (last === 0) return undefined;
    this.#sql.restoreConversation.run(...key, last);
    return last;
  }

  #conversation(key: Key): Conversation | undefined {
    const name = nameOf(key);
    const known = this.#conversations.get(name);
    if (known) return known;
    const last = this.#recent.lastOf(key) ??
      this.#sql.lastSeq.get(...key)?.last_seq as number | undefined ?? this.#restore(key);
    if (last === undefined) return undefined;
    const time = (this.#recent.of(key).at(-1) ?? this.#sql.lastTime.get(...key))?.time ?? 0;
    const conversation: Conversation = { key, last, time: time as number };
    this.#conversations.set(name, conversation);
    return conversation;
  }

  #hasAllGroups(user: number): boolean {
    return countOf(this.#sql.countGroups.get(user)) >= this.#limits.groupsPerUser;
  }
}

/** The answer to a cid that the sender has used before (invariant I5). */
function repeated(key: Key, first: Pick<RecentMessage, "key" | "seq" | "time">): Appended | Refused {
  if (nameOf(first.key) !== nameOf(key)) return { refused: "cid_reused" };
  return { seq: first.seq, time: first.time, repeated: true };
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

    beginLogin: db.prepare(
      "UPDATE User SET logins = logins + 1, state = 'online' WHERE id = ? RETURNING logins",
    ),
    hasToken: db.prepare("SELECT 1 FROM Session WHERE userid = ? AND token_hash = ?"),
    resumeLogin: db.prepare(
      "UPDATE User SET state = 'online' WHERE id = ? AND logins = ? AND state = 'offline'",
    ),
    endLogin: db.prepare("UPDATE User SET state = 'offline' WHERE id = ? AND logins = ?"),
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
    lastLeft: db.prepare(
      `SELECT max(
         coalesce((SELECT max(seq) FROM Message WHERE low = ?1 AND high = ?2), 0),
         coalesce((
           SELECT max(seq) FROM MemberCursor WHERE low = ?1 AND high = ?2 AND userid IN (
             SELECT ?1 UNION SELECT ?2 UNION SELECT userid FROM GroupUser WHERE ?1 = 0 AND groupid = ?2
           )
         ), 0)
       ) AS last`,
    ),
    makeCursor: db.prepare(
      "INSERT INTO MemberCursor (userid, low, high, seq) VALUES (?, ?, ?, 0) ON CONFLICT DO NOTHING",
    ),
    messageOf: db.prepare("SELECT low, high, seq, time FROM Message WHERE sender = ? AND cid = ?"),
    setCursor: db.prepare(
      `INSERT INTO MemberCursor (userid, low, high, seq) VALUES (?, ?, ?, ?)
       ON CONFLICT (userid, low, high) DO UPDATE SET seq = excluded.seq`,
    ),
    moveCursor: db.prepare(
      "UPDATE MemberCursor SET seq = ?1 WHERE userid = ?2 AND low = ?3 AND high = ?4 AND seq < ?1",
    ),
  };
}
