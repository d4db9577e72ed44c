/** What the parts of the store's contract have in common. */
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

/** An open store that was empty, and how to go on with it. */
export interface OpenedStore {
  readonly store: Store;
  /** Closes the store and opens it again on the same data. */
  reopen(): Promise<Store>;
  /** Runs a statement as an operator would. What it changes of the newest messages may show after a reopening only. */
  sql(statement: string): Promise<void>;
  /** Closes the store and removes its data. */
  discard(): Promise<void>;
}

/** Opens a fresh, empty store. */
export type OpenStore = (limits: StoreLimits) => Promise<OpenedStore>;

/** Registers one test of the contract, which gets an empty store. */
export type ContractTest = (
  name: string,
  body: (
    store: Store,
    reopen: () => Promise<Store>,
    sql: (statement: string) => Promise<void>,
  ) => Promise<void>,
  limits?: Partial<StoreLimits>,
) => void;

/** Limits that no test comes near without wanting to. */
export const ROOMY: StoreLimits = { friendsPerUser: 100, groupsPerUser: 100, membersPerGroup: 100 };

/** More bytes than a test's page has. */
export const PLENTY = 1_000_000;

/** A user id and a group id that no test has made. */
export const UNKNOWN_ID = 999_999;

/** The largest id there can be, and no test has made it. */
export const LAST_ID = 2 ** 31 - 1;

/** A message's time in tests, plus a number to tell them apart. */
export const NOON = Date.UTC(2024, 1, 29, 12);

/** Makes as many users, called u1, u2, …, and gives their ids, which rise. */
export async function makeUsers(store: Store, count: number): Promise<number[]> {
  const ids: number[] = [];
  for (let i = 1; i <= count; i++) ids.push(idOf(await store.createUser(`u${i}`, `hash ${i}`)));
  return ids;
}

/** Makes as many users at once, and gives their ids. */
export async function makeCrowd(store: Store, count: number): Promise<number[]> {
  const made = await Promise.all(
    Array.from({ length: count }, (_, i) => store.createUser(`u${i + 1}`, "hash")),
  );
  return made.map(idOf);
}

/** Makes a group with its members, the creator first. */
export async function makeGroup(store: Store, name: string, members: readonly number[]): Promise<number> {
  const id = idOf(await store.createGroup(members[0]!, name, `about ${name}`));
  for (const member of members.slice(1)) granted(await store.joinGroup(member, id));
  return id;
}

/** Appends a message whose body is its cid unless said otherwise. */
export function send(
  store: Store,
  sender: number,
  peer: Peer,
  cid: string,
  more: Partial<NewMessage> = {},
): Promise<Appended | Rejection> {
  return store.append({ sender, peer, cid, body: cid, time: NOON, ...more });
}

/** The result, if it isn't a refusal. */
export function granted<T>(result: T | Rejection): T {
  const refused = (result as Partial<Rejection> | undefined)?.refused;
  assert(refused === undefined, `expected a result, got refused: ${refused}`);
  return result as T;
}

/** The id in a result. */
export function idOf(result: { id: number } | Rejection): number {
  return granted(result).id;
}

/** The seqs of messages, which say most about a page. */
export function seqs(page: Page | readonly { seq: number }[] | Rejection): number[] {
  const messages = "messages" in page ? page.messages : granted(page);
  return (messages as readonly { seq: number }[]).map(({ seq }) => seq);
}

/** All of a conversation. */
export async function whole(store: Store, user: number, peer: number): Promise<Page["messages"]> {
  return (await store.read(user, peer, 0, 10_000, 100 * PLENTY)).messages;
}
