/** The store's reads, as they run on the thread that holds the database. */
import type { DatabaseSync } from "node:sqlite";
import type {
  Account,
  Contacts,
  Group,
  Member,
  Page,
  Peer,
  Refused,
  SavedSession,
  StoredMessage,
  Unread,
} from "../store.ts";
import type { Direct, ReadName } from "./calls.ts";
import { keyOf, peerOf } from "./conversation.ts";

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
    return row as Account | undefined;
  }

  findSession(user: number): SavedSession | undefined {
    return this.#sql.session.get(user) as SavedSession | undefined;
  }

  watchers(user: number, after: number, limit: number): number[] {
    return this.#sql.watchers.all(user, after, limit).map((row) => row.userid as number);
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

const MESSAGES = `
  SELECT seq, sender, User.name AS senderName, CAST(cid AS BLOB) AS cid, CAST(body AS BLOB) AS body, time
  FROM Message JOIN User ON User.id = sender WHERE low = ? AND high = ?`;

function prepare(db: DatabaseSync) {
  return {
    userById: db.prepare("SELECT id, name, password FROM User WHERE id = ?"),
    userByName: db.prepare("SELECT id, name, password FROM User WHERE name = ?"),
    session: db.prepare(
      `SELECT id AS user, name, token_hash AS tokenHash, expires
       FROM Session JOIN User ON id = userid WHERE userid = ?`,
    ),

    watchers: db.prepare(
      "SELECT userid FROM Friend WHERE friendid = ? AND userid > ? ORDER BY userid LIMIT ?",
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
      `SELECT low, high, Cursor.seq AS cursor, last_seq AS last, time AS since
       FROM Cursor
       JOIN Conversation USING (low, high)
       JOIN Message USING (low, high)
       WHERE userid = ? AND last_seq > Cursor.seq AND Message.seq = Cursor.seq + 1
       ORDER BY since, low, high LIMIT ?`,
    ),
    cursor: db.prepare("SELECT seq FROM Cursor WHERE userid = ? AND low = ? AND high = ?"),
    messagesAfter: db.prepare(`${MESSAGES} AND seq > ? ORDER BY seq LIMIT ?`),
    messagesBefore: db.prepare(`${MESSAGES} AND seq < ? ORDER BY seq DESC LIMIT ?`),
  };
}
