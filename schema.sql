-- The schema on MySQL 8 and MariaDB (10.6 or newer). The server makes it by itself in the database that --mysql names, and
-- brings one of an earlier version, or of a C++ server, up to it. By hand, for an empty server:
--
--   mysql < schema.sql
--
-- Every time is in milliseconds since 1970, UTC. Names are compared as code points. Nothing refers to another table
-- by a foreign key: users and groups are never deleted, and a check for each message's row would cost more than it
-- could find.

CREATE DATABASE IF NOT EXISTS chat CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
USE chat;

CREATE TABLE User (
  id       INT NOT NULL AUTO_INCREMENT,
  name     VARCHAR(50) NOT NULL,
  password VARCHAR(255) NOT NULL, -- a hash in PHC string form; '$plain$' and the password until it has been hashed
  state    ENUM('online', 'offline') NOT NULL DEFAULT 'offline',
  logins   INT UNSIGNED NOT NULL DEFAULT 0, -- how many there were: the last one's number, and its session is the one that counts
  PRIMARY KEY (id),
  UNIQUE KEY name (name)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One direction per row: friendid stands on userid's list.
CREATE TABLE Friend (
  userid   INT NOT NULL,
  friendid INT NOT NULL,
  PRIMARY KEY (userid, friendid),
  KEY FriendOf (friendid, userid) -- those who are told when a user comes and goes
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE AllGroup (
  id        INT NOT NULL AUTO_INCREMENT,
  groupname VARCHAR(50) NOT NULL,
  groupdesc VARCHAR(200) NOT NULL DEFAULT '',
  members   INT UNSIGNED NOT NULL DEFAULT 0, -- how many it has in GroupUser, so that they need not be counted
  PRIMARY KEY (id),
  UNIQUE KEY groupname (groupname)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE GroupUser (
  groupid   INT NOT NULL,
  userid    INT NOT NULL,
  grouprole ENUM('creator', 'normal') NOT NULL DEFAULT 'normal',
  PRIMARY KEY (groupid, userid),
  KEY GroupsOfUser (userid, groupid),
  KEY MembersByRole (groupid, grouprole, userid) -- a group's first members, the creator before the others
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A conversation is named by two numbers: two users' ids, the lower one first, or 0 and a group's id.
CREATE TABLE Conversation (
  low      INT NOT NULL,
  high     INT NOT NULL,
  last_seq INT NOT NULL, -- of its newest message; 0 while it has none
  PRIMARY KEY (low, high)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The message log: the one truth. seq is 1, 2, 3, … in each conversation, with no gap.
CREATE TABLE Message (
  low    INT NOT NULL,
  high   INT NOT NULL,
  seq    INT NOT NULL,
  sender INT NOT NULL,
  cid    VARBINARY(256) NOT NULL, -- the sender's own id for it, in UTF-8: the same one again is the same message
  time   BIGINT NOT NULL,
  body   MEDIUMTEXT NOT NULL,
  PRIMARY KEY (low, high, seq),
  UNIQUE KEY cid (sender, cid)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- How far each member of a conversation has acknowledged it.
CREATE TABLE MemberCursor (
  userid INT NOT NULL,
  low    INT NOT NULL,
  high   INT NOT NULL,
  seq    INT NOT NULL,
  PRIMARY KEY (userid, low, high)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The one session of each account that outlives its connections.
CREATE TABLE Session (
  userid     INT NOT NULL,
  token_hash BINARY(32) NOT NULL, -- SHA-256 of the token's secret
  expires    BIGINT NOT NULL,
  PRIMARY KEY (userid)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What each user has not received yet, as the JSON texts that C++ servers of this family kept in a table.
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

-- One row: which deployment this is, and which history it has. Both are random. The deployment's id is made once.
-- The epoch is renewed whenever committed data may have been lost: see main.ts renew-epoch.
CREATE TABLE StoreIdentity (
  id         INT NOT NULL,
  deployment VARCHAR(16) NOT NULL,
  epoch      VARCHAR(16) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row: the secret by which the nodes of the deployment know each other on Redis, in hexadecimal. It is random, and
-- made once. To change it, delete the row and restart the nodes one after the other.
CREATE TABLE ClusterKey (
  id     INT NOT NULL,
  secret VARCHAR(64) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What the server goes by. Other versions have other numbers; the server brings them up to its own.
CREATE TABLE SchemaVersion (
  version INT NOT NULL,
  PRIMARY KEY (version)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO SchemaVersion (version) VALUES (1);
