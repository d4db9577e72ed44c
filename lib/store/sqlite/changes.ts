/** The store's changes, as they run inside a batch's transaction on the thread that holds the database. */
import type { DatabaseSync } from "node:sqlite";
import type { Appended, Delivered, Login, NewMessage, Peer, Refused, StoreLimits } from "../store.ts";
import type { ChangeName, Direct } from "./calls.ts";
import { type Key, keyOf } from "../conversation.ts";

/** A conversation that the batch has touched: its last seq is kept here until the batch ends. */
interface Conversation {
  readonly key: Key;
  last: number;
  grown: boolean;
}

/** Use: any number of changes, then `finish`, all in one transaction; after a rollback, `forget`. */
export class Changes implements Direct<ChangeName> {
  readonly #limits: StoreLimits;
  readonly #sql: ReturnType<typeof prepare>;
  /** What the batch has touched, by key. */
  readonly #conversations = new Map<string, Conversation>();
  /** The same by sender and peer, for those who were found to be allowed to send there. */
  readonly #routes = new Map<string, Conversation>();

  constructor(db: DatabaseSync, limits: StoreLimits) {
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

  append({ sender, peer, cid, body, time }: NewMessage): Appended | Refused {
    const conversation = this.#routes.get(`${sender} ${peer}`) ?? this.#route(sender, peer);
    if ("refused" in conversation) return conversation;
    const [low, high] = conversation.key;
    const seq = conversation.last + 1;
    if (this.#sql.append.run(low, high, seq, sender, cid, time, body).changes === 0) {
      return this.#repeated(conversation.key, sender, cid);
    }
    conversation.last = seq;
    conversation.grown = true;
    return { seq, time, repeated: false };
  }

  delivered(upTo: readonly Delivered[]): void {
    for (const { user, peer, seq } of upTo) {
      const key = keyOf(user, peer);
      const conversation = this.#conversation(key);
      if (conversation) {
        this.#sql.moveCursor.run({ user, low: key[0], high: key[1], seq: Math.min(seq, conversation.last) });
      }
    }
  }

  /** Writes what the batch's conversations have come to. */
  finish(): void {
    for (const { key: [low, high], last, grown } of this.#conversations.values()) {
      if (grown) this.#sql.setLastSeq.run(last, low, high);
    }
    this.forget();
  }

  /** Leaves behind what was known of conversations within the batch. */
  forget(): void {
    this.#conversations.clear();
    this.#routes.clear();
  }

  /** Finds the conversation that `sender` may send to as `peer`; a pair's first message makes it. */
  #route(sender: number, peer: Peer): Conversation | Refused {
    if (peer > 0) {
      const wanted = sender === peer ? 1 : 2;
      if (countOf(this.#sql.countUsers.get(sender, peer)) < wanted) return { refused: "not_found" };
    } else if (!this.#sql.isMember.get(-peer, sender)) {
      return { refused: this.#sql.group.get(-peer) ? "forbidden" : "not_found" };
    }
    const key = keyOf(sender, peer);
    let conversation = this.#conversation(key);
    if (!conversation) {
      this.#sql.createConversation.run(...key);
      for (const user of new Set(peer > 0 ? key : [sender])) this.#sql.setCursor.run(user, ...key, 0);
      conversation = this.#conversation(key)!;
    }
    this.#routes.set(`${sender} ${peer}`, conversation);
    return conversation;
  }

  #conversation(key: Key): Conversation | undefined {
    const name = key.join(" ");
    const known = this.#conversations.get(name);
    if (known) return known;
    const row = this.#sql.lastSeq.get(...key);
    if (!row) return undefined;
    const conversation: Conversation = { key, last: row.last_seq as number, grown: false };
    this.#conversations.set(name, conversation);
    return conversation;
  }

  /** The answer to a cid that the sender has used before (invariant I5). */
  #repeated([low, high]: Key, sender: number, cid: string): Appended | Refused {
    const first = this.#sql.messageOf.get(sender, cid) as {
      low: number;
      high: number;
      seq: number;
      time: number;
    };
    if (first.low !== low || first.high !== high) return { refused: "cid_reused" };
    return { seq: first.seq, time: first.time, repeated: true };
  }

  #hasAllGroups(user: number): boolean {
    return countOf(this.#sql.countGroups.get(user)) >= this.#limits.groupsPerUser;
  }
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

    lastSeq: db.prepare("SELECT last_seq FROM Conversation WHERE low = ? AND high = ?"),
    setLastSeq: db.prepare("UPDATE Conversation SET last_seq = ? WHERE low = ? AND high = ?"),
    createConversation: db.prepare("INSERT INTO Conversation (low, high, last_seq) VALUES (?, ?, 0)"),
    append: db.prepare(
      `INSERT INTO Message (low, high, seq, sender, cid, time, body) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (sender, cid) DO NOTHING`,
    ),
    messageOf: db.prepare("SELECT low, high, seq, time FROM Message WHERE sender = ? AND cid = ?"),
    setCursor: db.prepare(
      `INSERT INTO MemberCursor (userid, low, high, seq) VALUES (?, ?, ?, ?)
       ON CONFLICT (userid, low, high) DO UPDATE SET seq = excluded.seq`,
    ),
    moveCursor: db.prepare(
      "UPDATE MemberCursor SET seq = $seq WHERE userid = $user AND low = $low AND high = $high AND seq < $seq",
    ),
  };
}
