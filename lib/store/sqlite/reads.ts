/** The store's reads, as they run on the thread that holds the database. */
import type { DatabaseSync } from "node:sqlite";
import {
  type Account,
  type Contacts,
  type Group,
  type Login,
  type Member,
  type Page,
  type Peer,
  PLAIN,
  type Refused,
  type SavedSession,
  type StoredMessage,
  type Unread,
} from "../store.ts";
import type { Direct, ReadName } from "./calls.ts";
import { keyOf, peerOf } from "../conversation.ts";

type Row = Record<string, unknown>;

// What a client may have put a U+0000 into is read as a BLOB: as TEXT it would end there.
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Use between transactions: it sees what is committed. */
export class Reads implements Direct<ReadName> {
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: DatabaseSync) {
    this.#sql = prepare(db);
  }

  findUser(by: { id: number } | { name: string }): Account | undefined {
    const row = "id" in by ? this.#sql.userById.get(by.id) : this.#sql.userByName.get(by.name);
    return row && account(row);
  }

  unhashed(after: number, limit: number): Account[] {
    return this.#sql.unhashed.all(after, limit).map(account);
  }

  lastLogins(users: readonly number[]): Map<number, number> {
    const rows = this.#sql.lastLogins.all(JSON.stringify(users));
    return new Map(rows.map(({ id, logins }) => [id as number, logins as number]));
  }

  loggedIn(after: number, limit: number): Login[] {
    return this.#sql.loggedIn.all(after, limit) as unknown as Login[];
  }

  findSession(user: number): SavedSession | undefined {
    return this.#sql.session.get(user) as SavedSession | undefined;
  }

  watchers(user: number, after: number, limit: number): number[] {
    return this.#sql.watchers.all(user, after, limit).map((row) => row.userid as number);
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

  members(user: number, group: number, after: number, limit: number): Member[] | Refused {
    return this.#barred(user, -group) ?? this.#sql.members.all(group, after, limit) as unknown as Member[];
  }

  unread(user: number, limit: number): Unread[] {
    return this.#sql.unread.all(user, limit).map(({ low, high, cursor, last, since }) => ({
      peer: peerOf(user, [low as number, high as number]),
      cursor: cursor as number,
      last: last as number,
      since: since as number,
    }));
  }

  behind(users: readonly number[]): number[] {
    return this.#sql.behind.all(JSON.stringify(users)).map(({ user }) => user as number);
  }

  read(user: number, peer: Peer, after: number | undefined, limit: number, maxBytes: number): Page {
    const key = keyOf(user, peer);
    const cursor = this.#sql.cursor.get(user, ...key)?.seq as number | undefined;
    if (cursor === undefined) return { after: after ?? 0, messages: [] };
    const start = after ?? cursor;
    return { after: start, messages: page(this.#sql.messagesAfter.iterate(...key, start, limit), maxBytes) };
  }

  history(
    user: number,
    peer: Peer,
    before: number | undefined,
    limit: number,
    maxBytes: number,
  ): StoredMessage[] | Refused {
    const barred = this.#barred(user, peer);
    if (barred) return barred;
    const rows = this.#sql.messagesBefore.iterate(
      ...keyOf(user, peer),
      before ?? Number.MAX_SAFE_INTEGER,
      limit,
    );
    return page(rows, maxBytes).reverse();
  }

  #group({ id, name, description, members }: Row, usersPerGroup: number): Group {
    return {
      id: id as number,
      name: name as string,
      description: utf8.decode(description as Uint8Array),
      members: members as number,
      users: this.#sql.firstMembers.all(id as number, usersPerGroup) as unknown as Member[],
    };
  }

  /** Why the user may not look at a conversation, if so. */
  #barred(user: number, peer: Peer): Refused | undefined {
    if (peer > 0) return this.#sql.userById.get(peer) ? undefined : { refused: "not_found" };
    if (this.#sql.isMember.get(-peer, user)) return undefined;
    return { refused: this.#sql.groupExists.get(-peer) ? "forbidden" : "not_found" };
  }
}

function account({ id, name, password, state }: Row): Account {
  return { id: id as number, name: name as string, password: password as string, online: state === "online" };
}

/** Takes rows of messages while their bodies fit into `maxBytes`, and the first one in any case. */
function page(rows: Iterable<Row>, maxBytes: number): StoredMessage[] {
  const messages: StoredMessage[] = [];
  let bytes = 0;
  for (const { seq, sender, senderName, cid, body, time } of rows) {
    bytes += (body as Uint8Array).length;
    if (bytes > maxBytes && messages.length > 0) break;
    messages.push({
      seq: seq as number,
      sender: sender as number,
      senderName: senderName as string,
      cid: utf8.decode(cid as Uint8Array),
      body: utf8.decode(body as Uint8Array),
      time: time as number,
    });
  }
  return messages;
}

const ACCOUNTS = "SELECT id, name, password, state FROM User";

const MESSAGES = `
  SELECT seq, sender, User.name AS senderName, CAST(cid AS BLOB) AS cid, CAST(body AS BLOB) AS body, time
  FROM Message JOIN User ON User.id = sender WHERE low = ? AND high = ?`;

function prepare(db: DatabaseSync) {
  return {
    userById: db.prepare(`${ACCOUNTS} WHERE id = ?`),
    userByName: db.prepare(`${ACCOUNTS} WHERE name = ?`),
    unhashed: db.prepare(`${ACCOUNTS} WHERE id > ? AND password GLOB '${PLAIN}*' ORDER BY id LIMIT ?`),
    lastLogins: db.prepare("SELECT id, logins FROM User WHERE id IN (SELECT value FROM json_each(?))"),
    loggedIn: db.prepare(
      "SELECT id AS user, logins AS login FROM User WHERE state = 'online' AND id > ? ORDER BY id LIMIT ?",
    ),
    session: db.prepare(
      `SELECT id AS user, name, token_hash AS tokenHash, expires
       FROM Session JOIN User ON id = userid WHERE userid = ?`,
    ),

    watchers: db.prepare(
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
    // 'creator' sorts before 'normal'
    firstMembers: db.prepare(
      `SELECT id, name, grouprole AS role
       FROM GroupUser JOIN User ON id = userid WHERE groupid = ? ORDER BY grouprole, userid LIMIT ?`,
    ),
    members: db.prepare(
      `SELECT id, name, grouprole AS role
       FROM GroupUser JOIN User ON id = userid WHERE groupid = ? AND userid > ? ORDER BY userid LIMIT ?`,
    ),

    unread: db.prepare(
      `SELECT low, high, MemberCursor.seq AS cursor, last_seq AS last, time AS since
       FROM MemberCursor
       JOIN Conversation USING (low, high)
       JOIN Message USING (low, high)
       WHERE userid = ? AND last_seq > MemberCursor.seq AND Message.seq = MemberCursor.seq + 1
       ORDER BY since, low, high LIMIT ?`,
    ),
    // By their conversations' last seqs alone, which says the same as `unread`: there is no gap.
    behind: db.prepare(
      `SELECT value AS user FROM json_each(?)
       WHERE EXISTS (
         SELECT 1 FROM MemberCursor JOIN Conversation USING (low, high) WHERE userid = value AND last_seq > seq
       )`,
    ),
    cursor: db.prepare("SELECT seq FROM MemberCursor WHERE userid = ? AND low = ? AND high = ?"),
    messagesAfter: db.prepare(`${MESSAGES} AND seq > ? ORDER BY seq LIMIT ?`),
    messagesBefore: db.prepare(`${MESSAGES} AND seq < ? ORDER BY seq DESC LIMIT ?`),
  };
}
