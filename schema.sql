-- The schema on MySQL 8.0 or newer and MariaDB 10.6 or newer. The server creates it in the database that
-- --mysql names, and migrates the tables of a C++ server to it. To create it by hand:
--
--   mysql < schema.sql
--
-- Times are in milliseconds since 1970, UTC. Names are compared by code points. There are no foreign keys:
-- users and groups are never deleted, and a check of each message's row would cost more than it could find.

CREATE DATABASE IF NOT EXISTS chat CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
USE chat;

CREATE TABLE User (
  id       INT NOT NULL AUTO_INCREMENT,
  name     VARCHAR(50) NOT NULL,
  password VARCHAR(255) NOT NULL, -- a hash in PHC string format; before that, '$plain$' and the password
  state    ENUM('online', 'offline') NOT NULL DEFAULT 'offline',
  logins   INT UNSIGNED NOT NULL DEFAULT 0, -- the last login's epoch: writes of earlier logins are rejected
  PRIMARY KEY (id),
  UNIQUE KEY name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One direction per row: friendid is on the list of userid.
CREATE TABLE Friend (
  userid   INT NOT NULL,
  friendid INT NOT NULL,
  PRIMARY KEY (userid, friendid),
  KEY FriendOf (friendid, userid) -- the followers of a user, which get the user's presence
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE AllGroup (
  id        INT NOT NULL AUTO_INCREMENT,
  groupname VARCHAR(50) NOT NULL,
  groupdesc VARCHAR(200) NOT NULL DEFAULT '',
  members   INT UNSIGNED NOT NULL DEFAULT 0, -- number of rows in GroupUser
  PRIMARY KEY (id),
  UNIQUE KEY groupname (groupname)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE GroupUser (
  groupid   INT NOT NULL,
  userid    INT NOT NULL,
  grouprole ENUM('creator', 'normal') NOT NULL DEFAULT 'normal',
  PRIMARY KEY (groupid, userid),
  KEY GroupsOfUser (userid, groupid),
  KEY MembersByRole (groupid, grouprole, userid) -- for a group's first members, the creator first
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The key of a conversation is two users' ids in ascending order, or 0 and a group's id.
CREATE TABLE Conversation (
  low      INT NOT NULL,
  high     INT NOT NULL,
  last_seq INT NOT NULL, -- of its newest message; 0 without one
  PRIMARY KEY (low, high)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The message log, the source of truth. seq is 1, 2, 3, … in each conversation, without a gap.
CREATE TABLE Message (
  low    INT NOT NULL,
  high   INT NOT NULL,
  seq    INT NOT NULL,
  sender INT NOT NULL,
  cid    VARBINARY(256) NOT NULL, -- the client message id in UTF-8, an idempotency key
  time   BIGINT NOT NULL,
  body   MEDIUMTEXT NOT NULL,
  PRIMARY KEY (low, high, seq),
  UNIQUE KEY cid (sender, cid)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The seq up to which each member acknowledged a conversation.
CREATE TABLE MemberCursor (
  userid INT NOT NULL,
  low    INT NOT NULL,
  high   INT NOT NULL,
  seq    INT NOT NULL,
  PRIMARY KEY (userid, low, high)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The session of each account that survives its connections.
CREATE TABLE Session (
  userid     INT NOT NULL,
  token_hash BINARY(32) NOT NULL, -- SHA-256 of the token's secret
  expires    BIGINT NOT NULL,
  PRIMARY KEY (userid)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The messages that each user has not acknowledged, as the JSON texts of a table of C++ servers of this
-- family.
CREATE SQL SECURITY INVOKER VIEW OfflineMessage (userid, message) AS
SELECT
  c.userid,
  CASE c.low
    WHEN 0 THEN JSON_OBJECT(
      'msgid', 10, 'id', m.sender, 'name', u.name, 'groupid', c.high, 'msg', m.body,
      'time', DATE_FORMAT(FROM_UNIXTIME(m.time DIV 1000), '%Y-%m-%d %H:%i:%s')
    )
    ELSE JSON_OBJECT(
      'msgid', 6, 'id', m.sender, 'name', u.name, 'toid', c.userid, 'msg', m.body,
      'time', DATE_FORMAT(FROM_UNIXTIME(m.time DIV 1000), '%Y-%m-%d %H:%i:%s')
    )
  END
FROM MemberCursor c
JOIN Message m ON m.low = c.low AND m.high = c.high AND m.seq > c.seq
JOIN User u ON u.id = m.sender
WHERE m.sender <> c.userid;

-- One row: the random ids of the deployment and of the store's epoch. The deployment's id is created with the
-- database. The epoch is renewed when committed data may be lost; see the command renew-epoch.
CREATE TABLE StoreIdentity (
  id         INT NOT NULL,
  deployment VARCHAR(16) NOT NULL,
  epoch      VARCHAR(16) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row: the secret by which nodes of the deployment authenticate their messages on Redis, in hexadecimal.
-- To change it, delete the row and restart the nodes, one after the other.
CREATE TABLE ClusterKey (
  id     INT NOT NULL,
  secret VARCHAR(64) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row: the version of this schema. The server refuses a database with a newer version.
CREATE TABLE SchemaVersion (
  version INT NOT NULL,
  PRIMARY KEY (version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO SchemaVersion (version) VALUES (1);
