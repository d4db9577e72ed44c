/** What happened in a run, as the users saw it and as the log has it in the end: all that the checker goes by. */

/** A conversation: `"3-7"` is that of users 3 and 7, the lower id first; `"g5"` is group 5. */
export type Conversation = string;

/** What one user saw or did, in the order in which it did. `at` is in milliseconds since the run began. */
export type Event =
  /** The user's login was answered with errno 0; sessions are counted as in `pushed`. */
  | { readonly kind: "entered"; readonly at: number; readonly session: number }
  /** The user began to send a message; repeats of the same `cid` are not noted again. */
  | {
    readonly kind: "sent";
    readonly at: number;
    readonly cid: string;
    readonly to: Conversation;
    readonly body: string;
  }
  /** The server said errno 0 for a message, the first time or again. */
  | {
    readonly kind: "acked";
    readonly at: number;
    readonly cid: string;
    readonly to: Conversation;
    readonly seq: number;
  }
  /** A message came on a session, whether or not the user had it already. */
  | {
    readonly kind: "pushed";
    readonly at: number;
    /** Counts the user's logins, from 1 on: pushes are compared within one session. */
    readonly session: number;
    readonly in: Conversation;
    readonly seq: number;
    readonly sender: number;
    readonly cid: string;
    readonly body: string;
  }
  /** The user was shown a message: pushed, and not had before. Fields as for the push. */
  | {
    readonly kind: "shown";
    readonly at: number;
    readonly in: Conversation;
    readonly seq: number;
    readonly sender: number;
    readonly cid: string;
    readonly body: string;
  }
  /** The user first asked to join a group that another user has made: it must not get what was acked before. */
  | { readonly kind: "joining"; readonly at: number; readonly group: Conversation }
  /** The user's joining (or making) of a group was acknowledged: it must get what is sent from then on. */
  | { readonly kind: "joined"; readonly at: number; readonly group: Conversation }
  /** The user said DELIVERED, which the server surely took: it answered a later request of the same connection. */
  | { readonly kind: "delivered"; readonly at: number; readonly in: Conversation; readonly seq: number }
  /** At the very end: who of the user's friends it sees online. */
  | { readonly kind: "friends"; readonly online: readonly number[]; readonly offline: readonly number[] };

/** One row of the log, as the database has it in the end. */
export interface Logged {
  readonly in: Conversation;
  readonly seq: number;
  readonly sender: number;
  readonly cid: string;
  readonly body: string;
}

/** A whole run. */
export interface History {
  /** When all was well again and no user was slow on purpose any more; in milliseconds since the run began. */
  readonly healed: number;
  /** Each user's events, by the user's id. */
  readonly users: ReadonlyMap<number, readonly Event[]>;
  /** The log, read from the database after everything has healed. */
  readonly log: readonly Logged[];
  /** Who has a session in the end: all others are logged out. */
  readonly online: ReadonlySet<number>;
  /** A group's members in the end, as the database has it. */
  readonly members: ReadonlyMap<Conversation, readonly number[]>;
  /** Who is online in the end by `User.state` in the database. */
  readonly states: ReadonlySet<number>;
  /** `MemberCursor` in the end, when the last DELIVEREDs have had time to be stored: by user and conversation. */
  readonly cursors: ReadonlyMap<number, ReadonlyMap<Conversation, number>>;
}
