/** What the two threads of the embedded store say to each other. */
import type { Store, StoreLimits } from "../store.ts";

/** The store's methods that change something: they run in a batch's transaction. */
export type ChangeName =
  | "createUser"
  | "setPassword"
  | "beginLogin"
  | "endLogins"
  | "resumeLogins"
  | "saveSession"
  | "deleteSession"
  | "addFriend"
  | "createGroup"
  | "joinGroup"
  | "append"
  | "delivered";

/** The store's methods that only look: they run after it. */
export type ReadName =
  | "findUser"
  | "unhashed"
  | "lastLogins"
  | "loggedIn"
  | "findSession"
  | "watchers"
  | "friendsOf"
  | "contacts"
  | "members"
  | "unread"
  | "behind"
  | "read"
  | "history";

/** A method's arguments. */
export type Arguments<N extends ChangeName | ReadName> = Parameters<Store[N]>;

/** What a method's promise is fulfilled with. */
export type Result<N extends ChangeName | ReadName> = Awaited<ReturnType<Store[N]>>;

/** The store's methods as they are on the thread that holds the database: without promises. */
export type Direct<N extends ChangeName | ReadName> = {
  [K in N]: (...args: Arguments<K>) => Result<K>;
};

/** One call of a method: an array, since arrays are the cheapest thing to copy between threads. */
export type Call<N extends ChangeName | ReadName> = { [K in N]: [name: K, ...args: Arguments<K>] }[N];

/** Makes the thread that holds the database serve whoever has the other end of the port as well. Not answered. */
export interface Attach {
  readonly kind: "attach";
  readonly port: MessagePort;
}

/** Calls that are carried out together. */
export interface Batch {
  readonly kind: "batch";
  readonly changes: readonly Call<ChangeName>[];
  readonly reads: readonly Call<ReadName>[];
}

/** To the thread that holds the database. Each is answered with one {@link Answer} or {@link Failure}, in order. */
export type Request =
  | { readonly kind: "open"; readonly file: string; readonly limits: StoreLimits }
  | Batch
  | { readonly kind: "close" };

/** What became of a batch's calls; of none, if it was another request. */
export interface Answer {
  /** Of all the changes first, then of the reads: of one at least, and as many as there was time for. */
  readonly results: readonly unknown[];
  /** What the calls threw that have no result, by their place among the results. */
  readonly failures: ReadonlyMap<number, unknown>;
}

/** A request that could not be carried out, or not be answered, as a whole: no call of it may count as done. */
export interface Failure {
  readonly error: unknown;
}
