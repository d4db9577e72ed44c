/**
 * The numbers and types of the wire protocol as docs/PROTOCOL.md has them. They are not imported from lib/,
 * so that an error in the server's table makes a test fail.
 */

/** Message ids. */
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

/** Error numbers. */
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

/** The greatest frame body in bytes that a server accepts by default. */
export const MAX_FRAME = 65_536;

/** The greatest frame body in bytes that a server sends. */
export const MAX_SERVER_FRAME = 1_048_576;

/** The largest id or seq. */
export const MAX_INTEGER = 2 ** 31 - 1;

/** A message of a client: any object, valid or not. */
export type Sent = Readonly<Record<string, unknown>>;

/** A user in a list of friends or members. */
export interface UserEntry {
  readonly id: number;
  readonly name: string;
  readonly state: string;
  readonly role?: string;
}

/** A group in a list. */
export interface GroupEntry {
  readonly id: number;
  readonly groupname: string;
  readonly groupdesc: string;
  readonly members: number;
  readonly users: readonly UserEntry[];
}

/** A message of the server in the framed dialect. Its fields depend on `msgid`. */
export interface Received {
  readonly msgid: number;
  readonly rid?: number | string;
  readonly of?: number;
  readonly errno?: number;
  readonly errmsg?: string;
  readonly retry_after?: number;
  readonly id?: number;
  readonly name?: string;
  readonly token?: string;
  readonly toid?: number;
  readonly groupid?: number;
  readonly msg?: string;
  readonly cid?: string;
  /** Milliseconds since 1970, UTC. */
  readonly time?: number;
  readonly seq?: number;
  readonly state?: string;
  readonly kind?: string;
  /** The epoch of the store, in the reply to a login. */
  readonly epoch?: string;
  readonly friends?: readonly UserEntry[];
  readonly groups?: readonly GroupEntry[];
  readonly users?: readonly UserEntry[];
  readonly messages?: readonly Received[];
}

/** A message of the server in the classic dialect, with lists of strings and a time as text. */
export interface ClassicReceived {
  readonly msgid: number;
  readonly errno?: number;
  readonly errmsg?: string;
  readonly id?: number;
  readonly name?: string;
  readonly toid?: number;
  readonly groupid?: number;
  readonly msg?: string;
  readonly time?: string;
  readonly friends?: readonly string[];
  readonly groups?: readonly string[];
  readonly offlinemsg?: readonly string[];
}
