-- The schema of the embedded database (SQLite). The server makes it by itself in an empty file; this text is
-- for those who want to know what is in there. Looking is safe at any time, also while the server runs:
--
--   sqlite3 chat.db 'SELECT name, state FROM User'
--
-- Every time is in milliseconds since 1970, UTC.

CREATE TABLE User (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  name     TEXT NOT NULL UNIQUE,
  password TEXT NOT NULL, -- a hash in PHC string form; '$plain$' and the password until it has been hashed
  state    TEXT NOT NULL DEFAULT 'offline' CHECK (state IN ('online', 'offline')),
  logins   INTEGER NOT NULL DEFAULT 0 -- how many there were: the last one's number, and its session is the one that counts
);

-- One direction per row: friendid stands on userid's list.
CREATE TABLE Friend (
  userid   INTEGER NOT NULL,
  friendid INTEGER NOT NULL,
  PRIMARY KEY (userid, friendid)
) WITHOUT ROWID;

-- Who has this user as a friend: those who are told when the user comes and goes.
CREATE INDEX FriendOf ON Friend (friendid, userid);

CREATE TABLE AllGroup (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  groupname TEXT NOT NULL UNIQUE,
  groupdesc TEXT NOT NULL,
  members   INTEGER NOT NULL DEFAULT 0 -- how many it has in GroupUser, where triggers keep count
);

CREATE TABLE GroupUser (
  groupid   INTEGER NOT NULL,
  userid    INTEGER NOT NULL,
  grouprole TEXT NOT NULL CHECK (grouprole IN ('creator', 'normal')),
  PRIMARY KEY (groupid, userid)
) WITHOUT ROWID;

CREATE INDEX GroupsOfUser ON GroupUser (userid, groupid);

-- A group's first members, the creator before the others, without sorting all of them.
CREATE INDEX MembersByRole ON GroupUser (groupid, grouprole, userid);

-- The number of members is kept, as it is asked for far more often than it changes.
CREATE TRIGGER MemberCame AFTER INSERT ON GroupUser BEGIN
  UPDATE AllGroup SET members = members + 1 WHERE id = NEW.groupid;
END;

CREATE TRIGGER MemberLeft AFTER DELETE ON GroupUser BEGIN
  UPDATE AllGroup SET members = members - 1 WHERE id = OLD.groupid;
END;

-- A conversation is named by two numbers: two users' ids, the lower one first, or 0 and a group's id.
CREATE TABLE Conversation (
  low      INTEGER NOT NULL,
  high     INTEGER NOT NULL,
  last_seq INTEGER NOT NULL, -- of its newest message in Message; 0 while it has none there
  PRIMARY KEY (low, high)
) WITHOUT ROWID;

-- The message log, where each conversation's messages lie together; those that have been in RecentMessage.
CREATE TABLE Message (
  low    INTEGER NOT NULL,
  high   INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  sender INTEGER NOT NULL,
  cid    TEXT NOT NULL, -- the sender's own id for it: the same one again is the same message
  time   INTEGER NOT NULL,
  body   TEXT NOT NULL,
  PRIMARY KEY (low, high, seq),
  UNIQUE (sender, cid)
) WITHOUT ROWID;

-- The message log's end: the newest messages in the order in which they came, so that a commit touches few pages.
-- They are moved to Message many at a time; those that have been go from here a little later.
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

-- All of the message log: the one truth. seq is 1, 2, 3, … in each conversation, with no gap.
CREATE VIEW AnyMessage (low, high, seq, sender, cid, time, body) AS
SELECT low, high, seq, sender, cid, time, body FROM Message
UNION ALL
SELECT low, high, seq, sender, cid, time, body FROM RecentMessage JOIN Conversation USING (low, high)
WHERE seq > last_seq;

-- How far each member of a conversation has acknowledged it.
CREATE TABLE MemberCursor (
  userid INTEGER NOT NULL,
  low    INTEGER NOT NULL,
  high   INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (userid, low, high)
) WITHOUT ROWID;

-- One row: which deployment this is, and which history it has. Both are random. The deployment's id is made once.
-- The epoch is renewed when the file is restored from a backup: see main.ts restore.
CREATE TABLE StoreIdentity (
  id         INTEGER PRIMARY KEY CHECK (id = 1),
  deployment TEXT NOT NULL,
  epoch      TEXT NOT NULL
);

-- One row: the secret by which the nodes of the deployment know each other on Redis, in hexadecimal. It is made once.
CREATE TABLE ClusterKey (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  secret TEXT NOT NULL
);

-- The one session of each account that outlives its connections.
CREATE TABLE Session (
  userid     INTEGER PRIMARY KEY,
  token_hash BLOB NOT NULL,
  expires    INTEGER NOT NULL
);

-- What each user has not received yet, as the JSON texts that C++ servers of this family kept in a table.
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
FROM ( -- not from AnyMessage: of Message, which may be large, only what is asked for is to be read
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
