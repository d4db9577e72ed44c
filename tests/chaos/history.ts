/** The history of a run: the observations of the users and the final log, which the checker reads. */

/** A conversation: `"3-7"` is that of users 3 and 7, the lower id first; `"g5"` is group 5. */
export type Conversation = string;

/**
 * An observation or action of a user, in its order. `at` is in milliseconds since the beginning of the run.
 */
export type Event =
  /** The login was accepted. Sessions are counted as in `pushed`. */
  | { readonly kind: "entered"; readonly at: number; readonly session: number }
  /** The user began to send a message. Repeats of a `cid` are not recorded. */
  | {
    readonly kind: "sent";
    readonly at: number;
    readonly cid: string;
    readonly to: Conversation;
    readonly body: string;
  }
  /** The server acknowledged a message, for the first time or again. */
  | {
    readonly kind: "acked";
    readonly at: number;
    readonly cid: string;
    readonly to: Conversation;
    readonly seq: number;
  }
  /** A session was pushed a message, new or not. */
  | {
    readonly kind: "pushed";
    readonly at: number;
    /** The number of the user's login, from 1. Pushes are compared within one session. */
    readonly session: number;
    readonly in: Conversation;
    readonly seq: number;
    readonly sender: number;
    readonly cid: string;
    readonly body: string;
  }
  /** The user was shown a message, which was pushed for the first time. The fields are those of the push. */
  | {
    readonly kind: "shown";
    readonly at: number;
    readonly in: Conversation;
    readonly seq: number;
    readonly sender: number;
    readonly cid: string;
    readonly body: string;
  }
  /** The user first requested to join a group. It must not get messages that were acknowledged before. */
  | { readonly kind: "joining"; readonly at: number; readonly group: Conversation }
  /** The user's request to join or create a group was acknowledged. It must get later messages. */
  | { readonly kind: "joined"; readonly at: number; readonly group: Conversation }
  /** The server has processed a DELIVERED, as it replied to a later request of the connection. */
  | { readonly kind: "delivered"; readonly at: number; readonly in: Conversation; readonly seq: number }
  /** The friends that the user sees as online in the end. */
  | { readonly kind: "friends"; readonly online: readonly number[]; readonly offline: readonly number[] };

/** A row of the final log. */
export interface Logged {
  readonly in: Conversation;
  readonly seq: number;
  readonly sender: number;
  readonly cid: string;
  readonly body: string;
}

/** The history of a run. */
export interface History {
  /** The end of all faults and slow users, in milliseconds since the beginning of the run. */
  readonly healed: number;
  /** The events of each user by its id. */
  readonly users: ReadonlyMap<number, readonly Event[]>;
  /** The log, read from the database after the end of all faults. */
  readonly log: readonly Logged[];
  /** The users with a session in the end. All others are logged out. */
  readonly online: ReadonlySet<number>;
  /** The members of each group in the final database. */
  readonly members: ReadonlyMap<Conversation, readonly number[]>;
  /** The users that are online by `User.state` in the final database. */
  readonly states: ReadonlySet<number>;
  /** The final `MemberCursor` by user and conversation, after the last DELIVEREDs are stored. */
  readonly cursors: ReadonlyMap<number, ReadonlyMap<Conversation, number>>;
}
