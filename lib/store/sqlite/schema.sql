-- The schema of the embedded database (SQLite). The server creates it in an empty file. Reading the database
-- with other programs is safe at any time, also while the server runs:
--
--   sqlite3 chat.db 'SELECT name, state FROM User'
--
-- Times are in milliseconds since 1970, UTC.

CREATE TABLE User (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  name     TEXT NOT NULL UNIQUE,
  password TEXT NOT NULL, -- a hash in PHC string format; before it is hashed, '$plain$' and the password
  state    TEXT NOT NULL DEFAULT 'offline' CHECK (state IN ('online', 'offline')),
  logins   INTEGER NOT NULL DEFAULT 0 -- the epoch of the last login: writes of earlier logins are rejected
);

-- One direction per row: friendid is on the list of userid.
CREATE TABLE Friend (
  userid   INTEGER NOT NULL,
  friendid INTEGER NOT NULL,
  PRIMARY KEY (userid, friendid)
) WITHOUT ROWID;

-- The followers of a user, which get the user's presence.
CREATE INDEX FriendOf ON Friend (friendid, userid);

CREATE TABLE AllGroup (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  groupname TEXT NOT NULL UNIQUE,
  groupdesc TEXT NOT NULL,
  members   INTEGER NOT NULL DEFAULT 0 -- number of rows in GroupUser, which triggers maintain
);

CREATE TABLE GroupUser (
  groupid   INTEGER NOT NULL,
  userid    INTEGER NOT NULL,
  grouprole TEXT NOT NULL CHECK (grouprole IN ('creator', 'normal')),
  PRIMARY KEY (groupid, userid)
) WITHOUT ROWID;

CREATE INDEX GroupsOfUser ON GroupUser (userid, groupid);

-- For a group's first members, the creator first, without a sort of all members.
CREATE INDEX MembersByRole ON GroupUser (groupid, grouprole, userid);

-- The number of members is stored, because reads are far more frequent than changes.
CREATE TRIGGER MemberCame AFTER INSERT ON GroupUser BEGIN
  UPDATE AllGroup SET members = members + 1 WHERE id = NEW.groupid;
END;

CREATE TRIGGER MemberLeft AFTER DELETE ON GroupUser BEGIN
  UPDATE AllGroup SET members = members - 1 WHERE id = OLD.groupid;
END;

-- The key of a conversation is two users' ids in ascending order, or 0 and a group's id.
CREATE TABLE Conversation (
  low      INTEGER NOT NULL,
  high     INTEGER NOT NULL,
  last_seq INTEGER NOT NULL, -- of its newest row in Message, 0 without one
  PRIMARY KEY (low, high)
) WITHOUT ROWID;

-- The compacted part of the message log, in which the messages of a conversation are adjacent.
CREATE TABLE Message (
  low    INTEGER NOT NULL,
  high   INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  sender INTEGER NOT NULL,
  cid    TEXT NOT NULL, -- the client message id, an idempotency key
  time   INTEGER NOT NULL,
  body   TEXT NOT NULL,
  PRIMARY KEY (low, high, seq),
  UNIQUE (sender, cid)
) WITHOUT ROWID;

-- The newest messages of the log in arrival order, so that a commit writes few pages. Compaction moves them
-- to Message, many at a time. Their rows here are deleted when the whole generation is compacted.
CREATE TABLE RecentMessage (
  n      INTEGER PRIMARY KEY,
  low    INTEGER NOT NULL,
  high   INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  sender INTEGER NOT NULL,
  cid    TEXT NOT NULL,
  time   INTEGER NOT NULL,
  body   TEXT NOT NULL
);

-- The complete message log, the source of truth. seq is 1, 2, 3, … in each conversation, without a gap.
CREATE VIEW AnyMessage (low, high, seq, sender, cid, time, body) AS
SELECT low, high, seq, sender, cid, time, body FROM Message
UNION ALL
SELECT low, high, seq, sender, cid, time, body FROM RecentMessage JOIN Conversation USING (low, high)
WHERE seq > last_seq;

-- The seq up to which each member acknowledged a conversation.
CREATE TABLE MemberCursor (
  userid INTEGER NOT NULL,
  low    INTEGER NOT NULL,
  high   INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (userid, low, high)
) WITHOUT ROWID;

-- One row: the random ids of the deployment and of the store's epoch. The deployment's id is created with the
-- file. The epoch is renewed when committed data may be lost: by the command restore, and at a start on a
-- file that its server did not close and that has no write-ahead log.
CREATE TABLE StoreIdentity (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  deployment TEXT NOT NULL,
  epoch      TEXT NOT NULL
);

-- One row: the secret by which nodes of the deployment authenticate their messages on Redis, in hexadecimal.
CREATE TABLE ClusterKey (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  secret TEXT NOT NULL
);

-- The session of each account that survives its connections.
CREATE TABLE Session (
  userid     INTEGER PRIMARY KEY,
  token_hash BLOB NOT NULL,
  expires    INTEGER NOT NULL
);

-- The messages that each user has not acknowledged, as the JSON texts of a table of C++ servers of this
-- family.
CREATE VIEW OfflineMessage (userid, message) AS
SELECT
  userid,
  CASE low
    WHEN 0 THEN json_object(
      'msgid', 10, 'id', sender, 'name', User.name, 'groupid', high, 'msg', body,
      'time', datetime(time / 1000, 'unixepoch', 'localtime')
    )
    ELSE json_object(
      'msgid', 6, 'id', sender, 'name', User.name, 'toid', userid, 'msg', body,
      'time', datetime(time / 1000, 'unixepoch', 'localtime')
    )
  END
FROM ( -- not from AnyMessage, so that only the requested rows of Message are read
  SELECT userid, low, high, sender, time, body
  FROM MemberCursor JOIN Message USING (low, high)
  WHERE Message.seq > MemberCursor.seq
  UNION ALL
  SELECT userid, low, high, sender, time, body
  FROM RecentMessage JOIN Conversation USING (low, high) JOIN MemberCursor USING (low, high)
  WHERE RecentMessage.seq > last_seq AND RecentMessage.seq > MemberCursor.seq
)
JOIN User ON User.id = sender
WHERE sender <> userid;
