import { file, flag, integer, orNone, textOrDefault, url } from "../declare.ts";

/**
 * The embedded database's file unless `--db` names another. It has a folder of its own, so that the server
 * needs no permission to write to its program's folder.
 */
export const DEFAULT_DB = "data/chat.db";

/** The database: an embedded one, or MySQL. */
export const storage = {
  db: textOrDefault(
    DEFAULT_DB,
    "FILE",
    "File of the embedded database. The server creates the file, and the folder of the default. A chat.db " +
      "in the working directory, the default of earlier releases, stays in use. Ignored with --mysql.",
  ),
  minFreeSpace: orNone(integer(
    268_435_456,
    1_048_576,
    1_099_511_627_776,
    "bytes",
    "Free disk space that the embedded database must leave. With less, new messages get errno 9, while " +
      "logins and DELIVERED still have room. At least 1048576, or 0: no check.",
  )),
  mysql: url(
    /^mysqls?:\/\/[^/,]+\/[^/?#,]+$/,
    "mysql://user:password@host:3306/database",
    "MySQL 8, or MariaDB 10.6 or newer, in place of the embedded database: " +
      "mysql://user:password@host:port/database. mysqls:// is TLS with a certificate that the runtime " +
      "trusts.",
  ),
  mysqlPasswordFile: file(
    "File with MySQL's password on its only line, in place of a password in the URL. All users of the " +
      "machine can read a command line, but not this file.",
  ),
  mysqlCa: file(
    "CA certificates in PEM form for MySQL's certificate. Connections to MySQL are then TLS, and the " +
      "certificate must name the host or address in the URL.",
  ),
  mysqlConnections: integer(
    10,
    2,
    1_000,
    "count",
    "Connections to MySQL of each node, and so of each worker. One of them writes messages. All other work " +
      "shares the rest.",
  ),
  singleWriter: flag(
    "Declares that all nodes use the same member of a Galera cluster. Without it, a MySQL server with " +
      "wsrep_on is refused: writes to several members can lose accepted messages.",
  ),
};
