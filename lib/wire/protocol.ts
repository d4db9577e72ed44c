/**
 * The numbers of the wire protocol, for the server and for clients: message ids, error numbers and the limits
 * that both sides must agree on. docs/PROTOCOL.md says what they mean.
 */

/** Message ids (`msgid`). Those up to 10 are the ones that existing C++ clients speak. */
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

/** One of the error numbers. */
export type Errno = typeof Errno[keyof typeof Errno];

/** A request's id, of the client's making. A number that a double can't hold is kept as it was written. */
export type Rid = number | string | { readonly rawJSON: string };

/** Limits on fields, in characters (Unicode code points) unless another unit is said. */
export const FieldLimit = {
  /** A user's or a group's name. */
  NAME: 50,
  PASSWORD: 128,
  GROUP_DESCRIPTION: 200,
  /** A message's id of its sender's making. */
  CID: 64,
  /** User and group ids, and seqs: positive 32-bit integers. */
  INTEGER: 2 ** 31 - 1,
} as const;

/** Bytes of a frame's body that a server accepts from a client unless it is configured otherwise. */
export const MAX_CLIENT_FRAME_BYTES = 65_536;

/** Bytes of a frame's body that a server never exceeds, and a client must therefore accept. */
export const MAX_SERVER_FRAME_BYTES = 1_048_576;

/** Messages that a HISTORY may ask for at most, unless the server is configured for fewer. */
export const MAX_HISTORY_PAGE = 200;

/** Users that a MEMBERS may ask for at most, unless the server is configured for fewer: up to 270 bytes each. */
export const MAX_MEMBERS_PAGE = 500;
