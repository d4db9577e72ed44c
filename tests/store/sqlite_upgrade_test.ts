/** Tests of upgrades: files of earlier releases work like new ones. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { granted, NOON, PLENTY, ROOMY, send, seqs } from "./store_fixture.ts";

/** The schema of version 1, from the release that created such files. */
const VERSION_1 = `
  CREATE TABLE User (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,
    state    TEXT NOT NULL DEFAULT 'offline' CHECK (state IN ('online', 'offline'))
  );
  CREATE TABLE Friend (
    userid   INTEGER NOT NULL,
    friendid INTEGER NOT NULL,
    PRIMARY KEY (userid, friendid)
  ) WITHOUT ROWID;
  CREATE INDEX FriendOf ON Friend (friendid, userid);
  CREATE TABLE AllGroup (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    groupname TEXT NOT NULL UNIQUE,
    groupdesc TEXT NOT NULL,
    members   INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE GroupUser (
    groupid   INTEGER NOT NULL,
    userid    INTEGER NOT NULL,
    grouprole TEXT NOT NULL CHECK (grouprole IN ('creator', 'normal')),
    PRIMARY KEY (groupid, userid)
  ) WITHOUT ROWID;
  CREATE INDEX GroupsOfUser ON GroupUser (userid, groupid);
  CREATE INDEX MembersByRole ON GroupUser (groupid, grouprole, userid);
  CREATE TRIGGER MemberCame AFTER INSERT ON GroupUser BEGIN
    UPDATE AllGroup SET members = members + 1 WHERE id = NEW.groupid;
  END;
  CREATE TRIGGER MemberLeft AFTER DELETE ON GroupUser BEGIN
    UPDATE AllGroup SET members = members - 1 WHERE id = OLD.groupid;
  END;
  CREATE TABLE Conversation (
    low      INTEGER NOT NULL,
    high     INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (low, high)
  ) WITHOUT ROWID;
  CREATE TABLE Message (
    low    INTEGER NOT NULL,
    high   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    cid    TEXT NOT NULL,
    time   INTEGER NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (low, high, seq),
    UNIQUE (sender, cid)
  ) WITHOUT ROWID;
  CREATE TABLE Cursor (
    userid INTEGER NOT NULL,
    low    INTEGER NOT NULL,
    high   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (userid, low, high)
  ) WITHOUT ROWID;
  CREATE TABLE Session (
    userid     INTEGER PRIMARY KEY,
    token_hash BLOB NOT NULL,
    expires    INTEGER NOT NULL
  );
  CREATE VIEW OfflineMessage (userid, message) AS
  SELECT
    Cursor.userid,
    CASE Cursor.low
      WHEN 0 THEN json_object(
        'msgid', 10, 'id', sender, 'name', User.name, 'groupid', Cursor.high, 'msg', body,
        'time', datetime(time / 1000, 'unixepoch', 'localtime')
      )
      ELSE json_object(
        'msgid', 6, 'id', sender, 'name', User.name, 'toid', Cursor.userid, 'msg', body,
        'time', datetime(time / 1000, 'unixepoch', 'localtime')
      )
    END
  FROM Cursor
  JOIN Message ON Message.low = Cursor.low AND Message.high = Cursor.high AND Message.seq > Cursor.seq
  JOIN User ON User.id = Message.sender
  WHERE Message.sender <> Cursor.userid;
  PRAGMA application_id = 0x43686174;
  PRAGMA user_version = 1;
`;

/** Data of a server of version 1: two users, one of them online, friends, a group, and unread messages. */
const CONTENTS = `
  INSERT INTO User (name, password, state) VALUES ('ann', 'hash 1', 'online'), ('bob', 'hash 2', 'offline');
  INSERT INTO Friend VALUES (1, 2);
  INSERT INTO AllGroup (groupname, groupdesc) VALUES ('team', 'ours');
  INSERT INTO GroupUser VALUES (1, 1, 'creator'), (1, 2, 'normal');
  INSERT INTO Conversation VALUES (1, 2, 2), (0, 1, 1);
  INSERT INTO Message VALUES (1, 2, 1, 1, 'a', ${NOON}, 'one'), (1, 2, 2, 1, 'b', ${NOON}, 'two'),
    (0, 1, 1, 2, 'c', ${NOON}, 'three');
  INSERT INTO Cursor VALUES (1, 1, 2, 2), (2, 1, 2, 1), (1, 0, 1, 0), (2, 0, 1, 1);
  INSERT INTO Session VALUES (1, x'${"07".repeat(32)}', ${NOON});
`;

async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function query<T>(file: string, body: (db: DatabaseSync) => T): T {
  const db = new DatabaseSync(file);
  try {
    return body(db);
  } finally {
    db.close();
  }
}

function make(file: string, ...sql: string[]): void {
  query(file, (db) => sql.forEach((statements) => db.exec(statements)));
}

/** Returns a file's schema: definitions without comments, quotes and spaces, and the version numbers. */
function schemaOf(file: string): unknown {
  return query(file, (db) => [
    db.prepare("PRAGMA application_id").get(),
    db.prepare("PRAGMA user_version").get(),
    db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").all().map((
      row,
    ) => ({
      ...row,
      sql: (row.sql as string | null)?.replaceAll(/--.*$/gm, "").replaceAll(/[\s"]/g, ""),
    })),
  ]);
}

Deno.test("sqlite upgrade: gives a file of version 1 the schema of a new one", () =>
  inDirectory(async (directory) => {
    const [old, fresh] = [`${directory}/old.db`, `${directory}/fresh.db`];
    make(old, VERSION_1, CONTENTS);
    for (const file of [old, fresh]) await (await SqliteStore.open(file, ROOMY)).close();
    assertEquals(schemaOf(old), schemaOf(fresh));
    await (await SqliteStore.open(old, ROOMY)).close(); // the upgraded file opens again
    assertEquals(schemaOf(old), schemaOf(fresh));
  }));

Deno.test("sqlite upgrade: has all data of a file of version 1, and continues it", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/chat.db`;
    make(file, VERSION_1, CONTENTS);
    const before = query(
      file,
      (db) => db.prepare("SELECT userid, message FROM OfflineMessage ORDER BY 1").all(),
    );
    const store = await SqliteStore.open(file, ROOMY);
    assertEquals(await store.findUser({ name: "ann" }), {
      id: 1,
      name: "ann",
      password: "hash 1",
      online: true,
    });
    assertEquals(await store.onlineLogins(0, 10), [{ user: 1, loginEpoch: 0 }]);
    assertEquals(await store.findSession(1), {
      user: 1,
      name: "ann",
      tokenHash: new Uint8Array(32).fill(7),
      expires: NOON,
    });
    const member = (id: number, name: string, role: "creator" | "normal") => ({ id, name, role });
    assertEquals(await store.contacts(1, 50), {
      friends: [{ id: 2, name: "bob" }],
      groups: [{
        id: 1,
        name: "team",
        description: "ours",
        members: 2,
        users: [member(1, "ann", "creator"), member(2, "bob", "normal")],
      }],
    });
    assertEquals(seqs(await store.read(2, 1, undefined, 10, PLENTY)), [2]);
    assertEquals(await store.unread(1, 10), [{ peer: -1, cursor: 0, last: 1, since: NOON }]);
    assertEquals(before.length, 2);
    assertEquals(
      query(file, (db) => db.prepare("SELECT userid, message FROM OfflineMessage ORDER BY 1").all()),
      before,
    );
    await store.releaseAccounts([{ user: 1, loginEpoch: 0 }]); // as a server does after a crash, at its start
    assertEquals(await store.onlineLogins(0, 10), []);
    assertEquals(await store.claimAccount(1), 1);
    assertEquals(granted(await send(store, 1, 2, "d")).seq, 3);
    await store.advanceCursors([{ user: 2, peer: 1, seq: 3 }]);
    assertEquals(await store.usersWithUnread([1, 2]), [1]);
    await store.close();
  }));

Deno.test("sqlite upgrade: rejects a file that it cannot upgrade, and does not change it", () =>
  inDirectory(async (directory) => {
    const file = `${directory}/chat.db`;
    make(file, VERSION_1, CONTENTS, "ALTER TABLE User ADD COLUMN logins TEXT"); // a conflicting change
    const before = schemaOf(file);
    const { message } = await assertRejects(() => SqliteStore.open(file, ROOMY), Error, file);
    assert(message.includes("logins") && !message.includes("\n"), message);
    assertEquals(schemaOf(file), before);
  }));
