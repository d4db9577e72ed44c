/**
 * The server's whole configuration, declared once: from here come the flags (`--login-timeout`), the environment
 * variables (`CHAT_LOGIN_TIMEOUT`), the checks, `--help` and the README's table. Every default has its reason.
 */
import { type Level, LEVELS } from "../log.ts";
import { MAX_CLIENT_FRAME_BYTES, MAX_HISTORY_PAGE, MAX_MEMBERS_PAGE } from "../wire/protocol.ts";
import {
  address,
  choice,
  duration,
  file,
  flag,
  integer,
  networks,
  type Option,
  orNone,
  text,
  textOrDefault,
  url,
} from "./declare.ts";

/**
 * The embedded database's file unless `--db` says another. It has a folder of its own, so that the server needs no
 * permission to write where its program is.
 */
export const DEFAULT_DB = "data/chat.db";

/** Every option, by the name it has in the code. */
export const options = {
  host: text("0.0.0.0", "ADDRESS", "address to listen on; the default is every IPv4 address of the machine"),
  port: integer(6000, 0, 65_535, "port", "TCP port to listen on; 0 takes a free one and logs which"),
  db: textOrDefault(
    DEFAULT_DB,
    "FILE",
    "file of the embedded database; made if it isn't there, and so is the default's folder. Not used with --mysql. A " +
      "chat.db in the working directory, which was the default once, goes on being used",
  ),
  mysql: url(
    /^mysqls?:\/\/[^/,]+\/[^/?#,]+$/,
    "mysql://user:password@host:3306/database",
    "MySQL 8 or MariaDB (10.6 or newer) in place of the embedded database: mysql://user:password@host:port/database, " +
      "or mysqls:// for TLS with a certificate that the runtime trusts",
  ),
  mysqlCa: file(
    "certificates in PEM form of the authorities that MySQL's certificate may come from: connections to it are TLS then, " +
      "and its certificate must have the host's name, or address, that the URL has",
  ),
  mysqlPasswordFile: file(
    "file with MySQL's password in its one line, in place of one in the URL. Other users of the machine see a command " +
      "line, and not this",
  ),
  singleWriter: flag(
    "all nodes use one and the same member of a Galera cluster. Without it a server with wsrep_on is refused: when nodes " +
      "write to several, messages that were accepted can be lost",
  ),
  mysqlConnections: integer(
    10,
    2,
    1_000,
    "count",
    "connections to MySQL of each node, and so of each worker; one of them writes messages, the others share everything else",
  ),
  redis: url(
    /^rediss?:\/\/[^,\s]+(,rediss?:\/\/[^,\s]+)*$/,
    "redis://host:6379",
    "Redis, through which nodes on one MySQL reach each other: redis://host:port, several with commas for a Redis Cluster",
  ),
  redisPasswordFile: file("the same with Redis' password"),
  workers: integer(
    1,
    1,
    64,
    "count",
    "event loops in this process, each a node of its own on the same port; more than one only pays where one is busy",
  ),
  trustedProxies: networks(
    "load balancers that begin each connection with a PROXY protocol header (version 1 or 2), such as 127.0.0.1 or " +
      "10.0.0.0/8,fd00::/8: clients then have their own addresses in the log and for the limits per address",
  ),
  proxyRequired: choice<"auto" | "yes" | "no">(
    "auto",
    ["auto", "yes", "no"],
    "connections from --trusted-proxies must begin with a header that has the client's address, so that the limits per " +
      "address hold. auto: yes if --host is a loopback address that is one of them, as then only proxies connect",
  ),
  tlsCert: file(
    "certificate chain in PEM form: connections are TLS then. Read again on SIGHUP; needs --tls-key",
  ),
  tlsKey: file("the certificate's private key in PEM form. Read again on SIGHUP"),
  healthPort: orNone(integer(
    0,
    1,
    65_535,
    "port",
    "port for HTTP's GET /ready (200, and 503 while it drains) and GET /live, for load balancers; 0: none",
  )),
  healthHost: address(
    "address of --health-port, such as one that only load balancers reach; none: that of --host",
  ),

  maxConnections: integer(
    16_000,
    1,
    1_000_000,
    "count",
    "open connections; more are closed at once. Where the limit of open files is too low for so many, the server accepts " +
      "fewer and says so at the start. The default leaves room in a limit of 20,000 open files",
  ),
  maxConnectionsPerAddress: integer(
    1_000,
    1,
    1_000_000,
    "count",
    "open connections from one address, or one IPv6 /64; more are closed at once. An office behind one address has room",
  ),
  exemptAddresses: networks(
    "addresses that the limits per address don't count: by default this machine's own, from which a proxy may come " +
      "that doesn't say for whom",
    "127.0.0.0/8,::1",
  ),
  maxFrame: integer(
    MAX_CLIENT_FRAME_BYTES,
    1_024,
    524_288,
    "bytes",
    "largest message taken from a client; at most half of what the server may send, so that each fits in an answer",
  ),
  maxInFlight: integer(
    128,
    1,
    10_000,
    "count",
    "requests of one connection under way; beyond it the server stops reading from that connection",
  ),
  messageRate: orNone(integer(
    20,
    1,
    1_000_000,
    "per second",
    "requests that each session may always make, a large question counting for several; beyond it they take from " +
      "--shared-rate, and then get errno 8. No person types as fast. 0: no limit",
  )),
  messageBurst: integer(
    50,
    10,
    10_000_000,
    "count",
    "requests that a session may make at once after a rest, such as a client that comes back and has things to send",
  ),
  byteRate: integer(
    32_768,
    1_024,
    1_073_741_824,
    "bytes per second",
    "bytes that each session may always send; beyond it as with --message-rate, and not limited without that",
  ),
  byteBurst: integer(
    262_144,
    1_024,
    1_073_741_824,
    "bytes",
    "bytes that a session may send at once after a rest; at least twice --max-frame",
  ),
  sharedRate: integer(
    5_000,
    0,
    10_000_000,
    "per second",
    "requests, of 2 KiB on average, that all sessions of a node together may make beyond their own rates: a few busy " +
      "ones have it to themselves, and a thousand can't take more. A tenth of what a node of two cores can do",
  ),
  unauthenticatedRate: orNone(integer(
    2,
    1,
    1_000_000,
    "per second",
    "messages, of 1 KiB on average, that are always read from a connection without a login; beyond it they take from a " +
      "tenth of --shared-rate that all of these have together, and then wait unread. 0: no limit",
  )),
  dailyBytes: orNone(integer(
    1_073_741_824,
    1_048_576,
    1_099_511_627_776,
    "bytes",
    "bytes of messages that one account may store in a day, in the whole cluster, each counted with 200 more; what is used " +
      "up comes back bit by bit, and beyond it is errno 8. Short messages at --message-rate all day are less than half of it. 1048576 at least, or 0: no limit",
  )),
  minFreeSpace: orNone(integer(
    268_435_456,
    1_048_576,
    1_099_511_627_776,
    "bytes",
    "bytes that must be free on the disk of the embedded database; with less, new messages are refused with errno 9, while " +
      "logins and DELIVERED still have room. 1048576 at least, or 0: until the disk is full",
  )),
  maxJsonDepth: integer(
    32,
    1,
    1_000,
    "count",
    "how deep a client's JSON may be nested; what the protocol defines is 1 deep, the rest is room for others' fields",
  ),
  maxJsonValues: integer(
    256,
    20,
    1_000_000,
    "count",
    "values in a client's JSON of more than 1 KiB; a thousand small ones take longer to parse than one text of 64 KiB",
  ),
  writeBufferBytes: integer(
    65_536,
    4_096,
    16_777_216,
    "bytes",
    "bytes waiting for one connection to read; beyond it nothing is pushed to it until it has caught up",
  ),
  loginTimeout: duration(30_000, 100, "a connection that has not logged in by then is closed"),
  pingInterval: duration(60_000, 100, "a peer that has been silent for this long is sent a PING"),
  pongTimeout: duration(20_000, 100, "a peer that then stays silent for this long is closed"),
  writeStallTimeout: duration(
    15 * 60_000,
    100,
    "a client that takes none of the bytes that wait for it for this long is closed. The kernel takes megabytes ahead " +
      "and says so in large steps, so that less would hit slow readers; it is about when TCP gives a dead peer up",
  ),
  drainTimeout: duration(
    10_000,
    0,
    "on SIGTERM or SIGINT clients are asked to move within this time, and what is under way is waited for as long",
  ),
  proxyHeaderTimeout: duration(
    5_000,
    100,
    "a trusted proxy's header must be there by then; proxies send it at once, with the connection",
  ),

  scryptLn: integer(
    15,
    1,
    20,
    "exponent",
    "password hashing: log2 of scrypt's cost N; 15 with r=8 and p=3 is OWASP's advice that fits in 32 MiB",
  ),
  scryptR: integer(8, 1, 32, "count", "password hashing: scrypt's block size r"),
  scryptP: integer(3, 1, 16, "count", "password hashing: scrypt's parallelization p"),
  hashQueue: integer(
    1_000,
    1,
    100_000,
    "count",
    "passwords waiting to be hashed; beyond it the address that has the most waiting is told to come again later",
  ),
  maxFailedLogins: integer(
    10,
    1,
    1_000_000,
    "count",
    "wrong passwords for one account from one address, IPv6 /48 or known device within --attempts-window, in the whole " +
      "cluster; then errno 8 for its passwords. Ten times as many in six times as long from all unknown places together, by " +
      "default 100 an hour; then one from each",
  ),
  maxLoginsPerAddress: integer(
    300,
    1,
    1_000_000,
    "count",
    "logins by password from one address, or one IPv6 /64, within --attempts-window, in the whole cluster; then errno 8",
  ),
  maxRegistrationsPerAddress: integer(
    100,
    1,
    1_000_000,
    "count",
    "accounts registered from one address, or one IPv6 /64, within --attempts-window, in the whole cluster; then errno 8",
  ),
  attemptsWindow: duration(
    600_000,
    1_000,
    "the time in which a used up number of attempts is there again, bit by bit",
  ),
  tokenTtl: duration(
    30 * 86_400_000,
    1_000,
    "a session's token expires after this long without a login by it",
    365 * 86_400_000,
  ),
  tokenLifetime: duration(
    90 * 86_400_000,
    3_600_000,
    "a session's token expires this long after the login by password that made it, however often it is used; counted in " +
      "hours. A stolen one is worth something for so long at the most",
    3_650 * 86_400_000,
  ),

  acceptPlainPasswords: flag(
    "takes a password that was written into the database as plain text: the right one logs in, and is hashed then. Without " +
      "it such an account cannot log in by password. Either way the log names the user's id",
  ),
  minPassword: integer(
    8,
    1,
    128,
    "characters",
    "length of a new account's password at the least, as NIST SP 800-63B has it. Accounts that exist log in with shorter ones",
  ),
  commonPasswords: choice<"refuse" | "allow">(
    "refuse",
    ["refuse", "allow"],
    "new passwords that are guessed first: the 10,000 most common ones, one character again and again, and the account's name",
  ),
  confusableNames: choice<"refuse" | "allow">(
    "refuse",
    ["refuse", "allow"],
    "new names that mix scripts, or hide combining marks, as names do that are made to look like others. Names that exist stay",
  ),
  maxFriends: integer(
    1_000,
    1,
    1_000,
    "count",
    "friends on one user's list; what fits into one answer is the bound",
  ),
  maxGroups: integer(500, 1, 500, "count", "groups of one user; what fits into one answer is the bound"),
  maxMembers: integer(10_000, 1, 1_000_000, "count", "members of one group"),
  historyPage: integer(
    MAX_HISTORY_PAGE,
    20,
    MAX_HISTORY_PAGE,
    "count",
    "messages in one answer to HISTORY, whose size is bounded too, to 1 MiB; the command-line client asks for 20",
  ),
  membersPage: integer(
    MAX_MEMBERS_PAGE,
    1,
    MAX_MEMBERS_PAGE,
    "count",
    "users in one answer to MEMBERS; up to 270 bytes each, they stay far below 1 MiB",
  ),

  classicBytes: orNone(integer(
    1_023,
    512,
    1_048_576,
    "bytes",
    "largest message sent to a classic client, its NUL included; those clients read into 1,024 bytes. 0: no limit",
  )),
  classicWriteInterval: duration(
    10,
    0,
    "least time between two writes to a classic client, which takes one read for one message. 0: none",
  ),

  logLevel: choice<Level>("info", LEVELS, "least important events that are logged"),
  logFormat: choice<"auto" | "text" | "json">(
    "auto",
    ["auto", "text", "json"],
    "how: auto is text on a terminal and JSON otherwise",
  ),
} as const satisfies Record<string, Option<string> | Option<number>>;

type Options = typeof options;

/** The configuration's values; times are in milliseconds. */
export type Config = { readonly [Name in keyof Options]: Options[Name] extends Option<infer T> ? T : never };

/** The flag of an option, without its dashes: `loginTimeout` is `login-timeout`. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The environment variable of an option: `loginTimeout` is `CHAT_LOGIN_TIMEOUT`. */
export function variableOf(name: string): string {
  return `CHAT_${flagOf(name).replaceAll("-", "_").toUpperCase()}`;
}
