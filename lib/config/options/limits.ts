import { MAX_CLIENT_FRAME_BYTES, MAX_HISTORY_PAGE, MAX_MEMBERS_PAGE } from "../../wire/protocol.ts";
import { integer, networks, orNone } from "../declare.ts";

/** Bounds of connections, messages and lists. */
export const limits = {
  maxConnections: integer(
    16_000,
    1,
    1_000_000,
    "count",
    "Maximum number of open connections. The server closes further ones at once. With a lower limit of " +
      "open files the server accepts fewer, and logs how many. The default fits in a limit of 20,000 open " +
      "files.",
  ),
  maxConnectionsPerAddress: integer(
    1_000,
    1,
    1_000_000,
    "count",
    "Maximum number of open connections from one IPv4 address or IPv6 /64. The server closes further ones " +
      "at once. The default has room for an office behind one address.",
  ),
  exemptAddresses: networks(
    "Addresses to which no limits per address apply. The default is the machine itself, where a proxy " +
      "without a PROXY header may run.",
    "127.0.0.0/8,::1",
  ),
  maxFrame: integer(
    MAX_CLIENT_FRAME_BYTES,
    1_024,
    524_288,
    "bytes",
    "Largest message from a client. The upper bound is half of the server's largest frame, so that each " +
      "message fits into a reply.",
  ),
  maxInFlight: integer(
    128,
    1,
    10_000,
    "count",
    "Maximum number of requests in flight on one connection. At this number the server stops reading from " +
      "the connection.",
  ),
  maxJsonDepth: integer(
    32,
    1,
    1_000,
    "count",
    "Maximum nesting depth of a client's JSON. The protocol's own messages have depth 1. Fields of other " +
      "programs need the rest.",
  ),
  maxJsonValues: integer(
    256,
    20,
    1_000_000,
    "count",
    "Maximum number of values in a JSON body of more than 1 KiB. A thousand small values take longer to " +
      "parse than one text of 64 KiB.",
  ),
  writeBufferBytes: integer(
    65_536,
    4_096,
    16_777_216,
    "bytes",
    "Maximum number of bytes that wait for one connection to read. Beyond it the server pushes nothing " +
      "until the client has caught up.",
  ),
  dailyBytes: orNone(integer(
    1_073_741_824,
    1_048_576,
    1_099_511_627_776,
    "bytes",
    "Maximum number of bytes of messages that one account may store in 24 hours, in the whole cluster. " +
      "Each message counts with 200 bytes more. Beyond it a message gets errno 8. The budget refills " +
      "continuously. Short messages at --message-rate all day use less than half of the default. At least " +
      "1048576, or 0: no limit.",
  )),
  maxFriends: integer(
    1_000,
    1,
    1_000,
    "count",
    "Maximum number of friends of one user. The bound is the size of one reply.",
  ),
  maxGroups: integer(
    500,
    1,
    500,
    "count",
    "Maximum number of groups of one user. The bound is the size of one reply.",
  ),
  maxMembers: integer(10_000, 1, 1_000_000, "count", "Maximum number of members of one group."),
  historyPage: integer(
    MAX_HISTORY_PAGE,
    20,
    MAX_HISTORY_PAGE,
    "count",
    "Maximum number of messages in one reply to HISTORY. The reply also has at most 1 MiB. The " +
      "command-line client asks for 20.",
  ),
  membersPage: integer(
    MAX_MEMBERS_PAGE,
    1,
    MAX_MEMBERS_PAGE,
    "count",
    "Maximum number of users in one reply to MEMBERS. At up to 270 bytes each, the reply stays far below 1 " +
      "MiB.",
  ),
};
