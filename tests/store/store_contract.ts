/**
 * The contract of every store: a test suite that each implementation runs, with a new store for each test.
 */
import { assertEquals } from "@std/assert";
import {
  type ContractTest,
  idOf,
  makeGroup,
  makeUsers,
  type OpenStore,
  ROOMY,
  UNKNOWN_ID,
} from "./store_fixture.ts";
import { accountContract } from "./store_account_contract.ts";
import { appendContract } from "./store_append_contract.ts";
import { concurrencyContract } from "./store_concurrency_contract.ts";
import { loginContract } from "./store_login_contract.ts";
import { gapContract } from "./store_gap_contract.ts";
import { cursorContract, pageContract } from "./store_read_contract.ts";

/** Registers the suite as tests with `name` as the first part of their names. */
export function storeContract(name: string, open: OpenStore): void {
  const test: ContractTest = (what, body, limits) => {
    Deno.test(`${name}: ${what}`, async () => {
      const opened = await open({ ...ROOMY, ...limits });
      try {
        await body(opened.store, () => opened.reopen(), (statement) => opened.sql(statement));
      } finally {
        await opened.discard();
      }
    });
  };
  accountContract(test);
  loginContract(test);
  friendContract(test);
  groupContract(test);
  appendContract(test);
  cursorContract(test);
  pageContract(test);
  gapContract(test);
  concurrencyContract(test);
}

function friendContract(test: ContractTest): void {
  test("adds a friend in one direction, once", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    assertEquals(await store.addFriend(a, c), { name: "u3" });
    assertEquals(await store.addFriend(a, b), { name: "u2" });
    assertEquals(await store.addFriend(a, c), { name: "u3" });
    assertEquals(await store.addFriend(a, UNKNOWN_ID), { refused: "not_found" });
    assertEquals((await store.contacts(a, 50)).friends, [{ id: b, name: "u2" }, { id: c, name: "u3" }]);
    assertEquals((await store.contacts(b, 50)).friends, []);
  });

  test("rejects a friend when the list is full, and accepts a friend on it again", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const results = await Promise.all([b, c, d, b].map((friend) => store.addFriend(a, friend)));
    assertEquals(results, [{ name: "u2" }, { name: "u3" }, { refused: "full" }, { name: "u2" }]);
    assertEquals(await store.addFriend(a, UNKNOWN_ID), { refused: "not_found" });
    assertEquals(await store.addFriend(b, a), { name: "u1" });
  }, { friendsPerUser: 2 });

  test("returns all friends of several users", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    for (const [user, friend] of [[a, c], [a, b], [b, a], [c, c]]) await store.addFriend(user!, friend!);
    const friendsOf = async (...users: number[]) =>
      (await store.friendsOf(users)).map(({ user, friend }) => [user, friend])
        .sort(([u, f], [v, g]) => u! - v! || f! - g!);
    assertEquals(await friendsOf(a, d, UNKNOWN_ID, b), [[a, b], [a, c], [b, a]]);
    assertEquals(await friendsOf(c), [[c, c]]);
    assertEquals(await friendsOf(d), []);
    assertEquals(await friendsOf(), []);
  });

  test("returns a user's followers in pages by id", async (store) => {
    const [a, b, c, d, e] = await makeUsers(store, 5) as [number, number, number, number, number];
    for (const user of [e, c, b, d]) await store.addFriend(user, a);
    await store.addFriend(a, b);
    assertEquals(await store.followers(a, 0, 10), [b, c, d, e]);
    assertEquals(await store.followers(a, 0, 2), [b, c]);
    assertEquals(await store.followers(a, c, 2), [d, e]);
    assertEquals(await store.followers(a, e, 2), []);
    assertEquals(await store.followers(UNKNOWN_ID, 0, 10), []);
  });
}

function groupContract(test: ContractTest): void {
  test("lists a group's creator and members, and changes nothing when a member joins again", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = idOf(await store.createGroup(b, "team", "what\u0000for 😀"));
    assertEquals(await store.joinGroup(c, group), { name: "team" });
    assertEquals(await store.joinGroup(a, group), { name: "team" });
    assertEquals(await store.joinGroup(b, group), { name: "team" });
    assertEquals(await store.joinGroup(a, UNKNOWN_ID), { refused: "not_found" });
    const users = [
      { id: b, name: "u2", role: "creator" as const },
      { id: a, name: "u1", role: "normal" as const },
      { id: c, name: "u3", role: "normal" as const },
    ];
    const expected = { id: group, name: "team", description: "what\u0000for 😀", members: 3, users };
    assertEquals((await store.contacts(c, 50)).groups, [expected]);
    assertEquals((await store.contacts(c, 3)).groups, [expected]);
    assertEquals((await store.contacts(c, 2)).groups, [{ ...expected, users: users.slice(0, 2) }]);
  });

  test("returns a user's own groups by id", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const [first, second] = [await makeGroup(store, "x", [a, b]), await makeGroup(store, "w", [b])];
    const third = await makeGroup(store, "v", [b, a]);
    assertEquals((await store.contacts(a, 50)).groups.map(({ id }) => id), [first, third]);
    assertEquals((await store.contacts(b, 50)).groups.map(({ id }) => id), [first, second, third]);
    assertEquals(await store.contacts(UNKNOWN_ID, 50), { friends: [], groups: [] });
  });

  test("assigns a group's name once, also within one batch, and compares code points", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const results = await Promise.all([
      store.createGroup(a, "team", ""),
      store.createGroup(b, "team", ""),
      store.createGroup(b, "Team", ""),
    ]);
    assertEquals(results.map((result) => "refused" in result ? result.refused : "made"), [
      "made",
      "name_in_use",
      "made",
    ]);
  });

  test("rejects a member when the group is full, and accepts a member of it again", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a]);
    const results = await Promise.all([b, c, b].map((user) => store.joinGroup(user, group)));
    assertEquals(results, [{ name: "g" }, { refused: "full" }, { name: "g" }]);
    assertEquals((await store.contacts(c, 50)).groups, []);
  }, { membersPerGroup: 2 });

  test("rejects creating and joining a group when the user's list is full", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const [first, second] = [await makeGroup(store, "g", [a]), await makeGroup(store, "h", [b])];
    const third = await makeGroup(store, "i", [b]);
    assertEquals(await store.joinGroup(a, second), { name: "h" });
    assertEquals(await store.joinGroup(a, third), { refused: "full" });
    assertEquals(await store.createGroup(a, "j", ""), { refused: "full" });
    assertEquals(await store.joinGroup(a, first), { name: "g" });
    assertEquals((await store.contacts(a, 50)).groups.map(({ id }) => id), [first, second]);
  }, { groupsPerUser: 2 });

  test("returns members in pages by id, to members only", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const group = await makeGroup(store, "g", [c, b, a]);
    const [first, second, third] = [
      { id: a, name: "u1", role: "normal" as const },
      { id: b, name: "u2", role: "normal" as const },
      { id: c, name: "u3", role: "creator" as const },
    ];
    assertEquals(await store.members(a, group, 0, 10), [first, second, third]);
    assertEquals(await store.members(a, group, 0, 2), [first, second]);
    assertEquals(await store.members(a, group, b, 2), [third]);
    assertEquals(await store.members(a, group, c, 2), []);
    assertEquals(await store.members(d, group, 0, 10), { refused: "forbidden" });
    assertEquals(await store.members(a, UNKNOWN_ID, 0, 10), { refused: "not_found" });
  });
}
