/**
 * The numbers of the wire protocol, for servers and clients: message ids, error numbers, and the limits on
 * which both must agree. docs/PROTOCOL.md describes them.
 */

/** Message ids (`msgid`). The existing C++ clients use those up to 10. */
export const Msg = {
  LOGIN: 1,
  LOGIN_ACK: 2,
  LOGOUT: 3,
  REGISTER: 4,
  REGISTER_ACK: 5,
  ONE_CHAT: 6,
  ADD_FRIEND: 7,
  CREATE_GROUP: 8,
  ADD_GROUP: 9,
  GROUP_CHAT: 10,
  ACK: 20,
  DELIVERED: 21,
  HISTORY: 22,
  HISTORY_ACK: 23,
  PING: 24,
  PONG: 25,
  PRESENCE: 26,
  NOTICE: 27,
  CONTACTS: 28,
  CONTACTS_ACK: 29,
  MEMBERS: 30,
  MEMBERS_ACK: 31,
} as const;

/** Error numbers (`errno`). */
export const Errno = {
  OK: 0,
  FAILED: 1,
  ALREADY_ONLINE: 2,
  NOT_LOGGED_IN: 3,
  BAD_REQUEST: 4,
  NOT_FOUND: 5,
  FORBIDDEN: 6,
  TOO_LARGE: 7,
  RATE_LIMITED: 8,
  UNAVAILABLE: 9,
} as const;

/** An error number. */
export type Errno = typeof Errno[keyof typeof Errno];

/** A request id from the client. A number that a double cannot represent keeps its original notation. */
export type Rid = number | string | { readonly rawJSON: string };

/** Limits on fields, in characters (Unicode code points) unless the comment names another unit. */
export const FieldLimit = {
  /** The name of a user or a group. */
  NAME: 50,
  PASSWORD: 128,
  GROUP_DESCRIPTION: 200,
  /** A client message id: the idempotency key of a message. */
  CID: 64,
  /** User and group ids, and seqs: positive 32-bit integers. */
  INTEGER: 2 ** 31 - 1,
} as const;

/** Default maximum of bytes in the body of a client's frame. */
export const MAX_CLIENT_FRAME_BYTES = 65_536;

/** Maximum of bytes in the body of a server's frame, which a client must accept. */
export const MAX_SERVER_FRAME_BYTES = 1_048_576;

/** Default maximum of messages in one reply to HISTORY. */
export const MAX_HISTORY_PAGE = 200;

/** Default maximum of users in one reply to MEMBERS. Each takes up to 270 bytes. */
export const MAX_MEMBERS_PAGE = 500;
