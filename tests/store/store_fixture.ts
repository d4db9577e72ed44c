/** Helpers for tests of a store. */
import { assert } from "@std/assert";
import type {
  Appended,
  NewMessage,
  Page,
  Peer,
  Rejection,
  Store,
  StoreLimits,
} from "../../lib/store/store.ts";

/** An open store, which was empty, and operations on its data. */
export interface OpenedStore {
  readonly store: Store;
  /** Closes the store, and opens it again with the same data. */
  reopen(): Promise<Store>;
  /** Runs a statement as an operator would. Changes of the newest messages may need a reopening. */
  sql(statement: string): Promise<void>;
  /** Closes the store and removes its data. */
  discard(): Promise<void>;
}

/** Opens a new, empty store. */
export type OpenStore = (limits: StoreLimits) => Promise<OpenedStore>;

/** Registers a test of the contract with an empty store. */
export type ContractTest = (
  name: string,
  body: (
    store: Store,
    reopen: () => Promise<Store>,
    sql: (statement: string) => Promise<void>,
  ) => Promise<void>,
  limits?: Partial<StoreLimits>,
) => void;

/** Limits above the needs of most tests. */
export const ROOMY: StoreLimits = { friendsPerUser: 100, groupsPerUser: 100, membersPerGroup: 100 };

/** A size in bytes above that of all pages in tests. */
export const PLENTY = 1_000_000;

/** The id of a user and a group that do not exist. */
export const UNKNOWN_ID = 999_999;

/** The largest possible id; no such user or group exists. */
export const LAST_ID = 2 ** 31 - 1;

/** The base of messages' times in tests, in milliseconds since 1970. */
export const NOON = Date.UTC(2024, 1, 29, 12);

/** Creates users with the names u1, u2, …, one after the other, and returns their ids, which ascend. */
export async function makeUsers(store: Store, count: number): Promise<number[]> {
  const ids: number[] = [];
  for (let i = 1; i <= count; i++) ids.push(idOf(await store.createUser(`u${i}`, `hash ${i}`)));
  return ids;
}

/** Creates users concurrently, and returns their ids. */
export async function makeCrowd(store: Store, count: number): Promise<number[]> {
  const made = await Promise.all(
    Array.from({ length: count }, (_, i) => store.createUser(`u${i + 1}`, "hash")),
  );
  return made.map(idOf);
}

/** Creates a group with its members, the creator first. */
export async function makeGroup(store: Store, name: string, members: readonly number[]): Promise<number> {
  const id = idOf(await store.createGroup(members[0]!, name, `about ${name}`));
  for (const member of members.slice(1)) granted(await store.joinGroup(member, id));
  return id;
}

/** Appends a message. Its body is its cid unless `more` has another one. */
export function send(
  store: Store,
  sender: number,
  peer: Peer,
  cid: string,
  more: Partial<NewMessage> = {},
): Promise<Appended | Rejection> {
  return store.append({ sender, peer, cid, body: cid, time: NOON, ...more });
}

/** Returns a result, and asserts that it is no rejection. */
export function granted<T>(result: T | Rejection): T {
  const refused = (result as Partial<Rejection> | undefined)?.refused;
  assert(refused === undefined, `expected a result, got refused: ${refused}`);
  return result as T;
}

/** Returns the id in a result, and asserts that it is no rejection. */
export function idOf(result: { id: number } | Rejection): number {
  return granted(result).id;
}

/** Returns the seqs of a page or of messages. */
export function seqs(page: Page | readonly { seq: number }[] | Rejection): number[] {
  const messages = "messages" in page ? page.messages : granted(page);
  return (messages as readonly { seq: number }[]).map(({ seq }) => seq);
}

/** Returns all messages of a conversation. */
export async function whole(store: Store, user: number, peer: number): Promise<Page["messages"]> {
  return (await store.read(user, peer, 0, 10_000, 100 * PLENTY)).messages;
}
