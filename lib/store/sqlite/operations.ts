/** The table of the store's operations, and the types of their calls on both sides of the thread boundary. */
import type { Appended, Peer, Rejection, Store } from "../store.ts";

/**
 * The kind of each operation of {@link Store}. A `change` is in `changes.ts`, and runs inside a batch's
 * transaction. A `read` is in `reads.ts`, and runs after that transaction. A new operation needs its line
 * here, its declaration in `store.ts` and its implementation. The compiler reports each of the three that is
 * missing.
 */
export const OPERATIONS = {
  createUser: "change",
  findUser: "read",
  setPassword: "change",
  plaintextAccounts: "read",
  claimAccount: "change",
  releaseAccounts: "change",
  reclaimAccounts: "change",
  latestLoginEpochs: "read",
  onlineLogins: "read",
  saveSession: "change",
  findSession: "read",
  deleteSession: "change",
  addFriend: "change",
  followers: "read",
  friendsOf: "read",
  contacts: "read",
  createGroup: "change",
  joinGroup: "change",
  members: "read",
  append: "change",
  advanceCursors: "change",
  unread: "read",
  usersWithUnread: "read",
  read: "read",
  history: "read",
  clusterKey: "read",
  identity: "read",
  renewEpoch: "change",
} as const satisfies Record<
  Exclude<keyof Store, "adoptEpoch" | "close" | "noteCommitted">,
  "change" | "read"
>;

/** An operation's name. */
export type OperationName = keyof typeof OPERATIONS;

type NameOf<Kind> = {
  [N in OperationName]: (typeof OPERATIONS)[N] extends Kind ? N : never;
}[OperationName];

/** The operations that change the database. */
export type ChangeName = NameOf<"change">;

/** The operations that only read the database. */
export type ReadName = NameOf<"read">;

/** The two most frequent operations, in a form that is cheap to copy between threads: simple values. */
export interface FlatOperations {
  /** Returns the seq alone for a new message with its own time: the caller knows the rest of the result. */
  append(
    sender: number,
    peer: Peer,
    cid: string,
    body: string,
    time: number,
    mustBeDuplicate?: boolean,
  ): Promise<number | Appended | Rejection>;
  /** Takes user, peer and seq of each update in one array, one after the other. */
  advanceCursors(updates: readonly number[]): Promise<void>;
}

type Operations = Omit<Store, keyof FlatOperations> & FlatOperations;

/** The arguments of an operation's call. */
export type CallArguments<N extends OperationName> = Parameters<Operations[N]>;

/** The result of an operation's call. */
export type CallResult<N extends OperationName> = Awaited<ReturnType<Operations[N]>>;

/** One call of an operation. */
export type StoreCall<N extends OperationName = OperationName> = {
  [K in N]: [name: K, ...args: CallArguments<K>];
}[N];

/** Operations as the database thread implements them: without promises. */
export type SyncOperations<N extends OperationName> = {
  [K in N]: (...args: CallArguments<K>) => CallResult<K>;
};
