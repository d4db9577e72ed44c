/** What every implementation of the store must do: each runs this suite, on a fresh store for each test. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { StoreUnavailable } from "../lib/store/store.ts";
import {
  type ContractTest,
  idOf,
  makeGroup,
  makeUsers,
  NOBODY,
  NOON,
  type OpenStore,
  ROOMY,
} from "./store_fixture.ts";
import { appendContract } from "./store_append_contract.ts";
import { cursorContract, pageContract } from "./store_read_contract.ts";

/** Registers the whole suite as tests whose names begin with `name`. */
export function storeContract(name: string, open: OpenStore): void {
  const test: ContractTest = (what, body, limits) => {
    Deno.test(`${name}: ${what}`, async () => {
      const opened = await open({ ...ROOMY, ...limits });
      try {
        await body(opened.store, () => opened.reopen());
      } finally {
        await opened.discard();
      }
    });
  };
  accountContract(test);
  friendContract(test);
  groupContract(test);
  appendContract(test);
  cursorContract(test);
  pageContract(test);
}

function accountContract(test: ContractTest): void {
  test("an account is found by id and by name", async (store) => {
    const [, id] = await makeUsers(store, 3) as [number, number, number];
    const account = { id, name: "u2", password: "hash 2" };
    assertEquals(await store.findUser({ id }), account);
    assertEquals(await store.findUser({ name: "u2" }), account);
    assertEquals(await store.findUser({ id: NOBODY }), undefined);
    assertEquals(await store.findUser({ name: "nobody" }), undefined);
  });

  test("a name is taken once, also within one turn", async (store) => {
    const results = await Promise.all(
      ["ann", "ann", "bob", "ann"].map((name) => store.createUser(name, "hash")),
    );
    assertEquals(results.map((result) => "refused" in result ? result.refused : "made"), [
      "made",
      "taken",
      "made",
      "taken",
    ]);
    assertEquals(await store.createUser("bob", "other"), { refused: "taken" });
    assertEquals((await store.findUser({ name: "bob" }))?.password, "hash");
  });

  test("names are compared as code points: neither case, nor accents, nor width, nor spaces are folded", async (store) => {
    const names = [
      "ann",
      "Ann",
      "ánn",
      "a\u0301nn",
      "ａnn",
      "ann ",
      " ann",
      "ß",
      "ss",
      "\ufeffann",
      "😀",
      "😃",
    ];
    for (const name of names) idOf(await store.createUser(name, "hash"));
    for (const name of names) assertEquals((await store.findUser({ name }))?.name, name);
  });

  test("the longest name is kept whole", async (store) => {
    const name = "😀".repeat(50);
    const id = idOf(await store.createUser(name, "hash"));
    assertEquals((await store.findUser({ id }))?.name, name);
  });

  test("a password is replaced, for its account only", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await store.setPassword(a, "new");
    await store.setPassword(NOBODY, "new");
    assertEquals((await store.findUser({ id: a }))?.password, "new");
    assertEquals((await store.findUser({ id: b }))?.password, "hash 2");
  });

  test("an account has one session, the latest saved", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    assertEquals(await store.findSession(a), undefined);
    const tokenHash = Uint8Array.from({ length: 32 }, (_, i) => i * 8);
    await store.saveSession(a, new Uint8Array(32), NOON);
    await store.saveSession(b, new Uint8Array(32), NOON);
    await store.saveSession(a, tokenHash, NOON + 1);
    assertEquals(await store.findSession(a), { user: a, name: "u1", tokenHash, expires: NOON + 1 });
    await store.deleteSession(a);
    await store.deleteSession(a);
    assertEquals(await store.findSession(a), undefined);
    assertEquals((await store.findSession(b))?.user, b);
  });

  test("a state is set, for nobody too, and nothing comes of it here", async (store) => {
    const [a] = await makeUsers(store, 1) as [number];
    await store.setState(a, "online");
    await store.setState(a, "offline");
    await store.setState(NOBODY, "online");
    assertEquals(await store.findUser({ id: NOBODY }), undefined);
  });

  test("a store that was opened again has everything", async (store, reopen) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await store.addFriend(a, b);
    await store.saveSession(a, new Uint8Array([1, 2, 3]), NOON);
    const before = [await store.contacts(a, 50), await store.findSession(a), await store.findUser({ id: b })];
    const again = await reopen();
    const after = [await again.contacts(a, 50), await again.findSession(a), await again.findUser({ id: b })];
    assertEquals(after, before);
    assertEquals(await again.createUser("u1", "hash"), { refused: "taken" });
    assert(idOf(await again.createUser("u3", "hash")) > b, "an id is not given out twice");
    assert(idOf(await again.createGroup(a, "h", "")) > group);
  });

  test(
    "what was called before close is done, and what is called after is turned away",
    async (store, reopen) => {
      const made = store.createUser("ann", "hash");
      const found = store.findUser({ name: "ann" });
      const closed = store.close();
      await assertRejects(() => store.createUser("bob", "hash"), StoreUnavailable);
      await assertRejects(() => store.findUser({ name: "ann" }), StoreUnavailable);
      const id = idOf(await made);
      await found;
      await closed;
      await store.close();
      await assertRejects(() => store.findUser({ name: "ann" }), StoreUnavailable);
      const again = await reopen();
      assertEquals((await again.findUser({ name: "ann" }))?.id, id);
      assertEquals(await again.findUser({ name: "bob" }), undefined);
    },
  );
}

function friendContract(test: ContractTest): void {
  test("a friend is added in one direction, once", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    assertEquals(await store.addFriend(a, c), { name: "u3" });
    assertEquals(await store.addFriend(a, b), { name: "u2" });
    assertEquals(await store.addFriend(a, c), { name: "u3" });
    assertEquals(await store.addFriend(a, NOBODY), { refused: "not_found" });
    assertEquals((await store.contacts(a, 50)).friends, [{ id: b, name: "u2" }, { id: c, name: "u3" }]);
    assertEquals((await store.contacts(b, 50)).friends, []);
  });

  test("a full list of friends takes no more, and those on it are no error", async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const results = await Promise.all([b, c, d, b].map((friend) => store.addFriend(a, friend)));
    assertEquals(results, [{ name: "u2" }, { name: "u3" }, { refused: "full" }, { name: "u2" }]);
    assertEquals(await store.addFriend(a, NOBODY), { refused: "not_found" });
    assertEquals(await store.addFriend(b, a), { name: "u1" });
  }, { friendsPerUser: 2 });

  test("watchers are those who have the user as a friend, in pages by id", async (store) => {
    const [a, b, c, d, e] = await makeUsers(store, 5) as [number, number, number, number, number];
    for (const user of [e, c, b, d]) await store.addFriend(user, a);
    await store.addFriend(a, b);
    assertEquals(await store.watchers(a, 0, 10), [b, c, d, e]);
    assertEquals(await store.watchers(a, 0, 2), [b, c]);
    assertEquals(await store.watchers(a, c, 2), [d, e]);
    assertEquals(await store.watchers(a, e, 2), []);
    assertEquals(await store.watchers(NOBODY, 0, 10), []);
  });
}

function groupContract(test: ContractTest): void {
  test("a group has its creator and those who joined, and joining again changes nothing", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = idOf(await store.createGroup(b, "team", "what\u0000for 😀"));
    assertEquals(await store.joinGroup(c, group), { name: "team" });
    assertEquals(await store.joinGroup(a, group), { name: "team" });
    assertEquals(await store.joinGroup(b, group), { name: "team" });
    assertEquals(await store.joinGroup(a, NOBODY), { refused: "not_found" });
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

  test("contacts have the user's groups by id, and nobody else's", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const [first, second] = [await makeGroup(store, "x", [a, b]), await makeGroup(store, "w", [b])];
    const third = await makeGroup(store, "v", [b, a]);
    assertEquals((await store.contacts(a, 50)).groups.map(({ id }) => id), [first, third]);
    assertEquals((await store.contacts(b, 50)).groups.map(({ id }) => id), [first, second, third]);
    assertEquals(await store.contacts(NOBODY, 50), { friends: [], groups: [] });
  });

  test("a group's name is taken once, also within one turn, and compared as code points", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const results = await Promise.all([
      store.createGroup(a, "team", ""),
      store.createGroup(b, "team", ""),
      store.createGroup(b, "Team", ""),
    ]);
    assertEquals(results.map((result) => "refused" in result ? result.refused : "made"), [
      "made",
      "taken",
      "made",
    ]);
  });

  test("a full group takes no more members, and those in it are no error", async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    const group = await makeGroup(store, "g", [a]);
    const results = await Promise.all([b, c, b].map((user) => store.joinGroup(user, group)));
    assertEquals(results, [{ name: "g" }, { refused: "full" }, { name: "g" }]);
    assertEquals((await store.contacts(c, 50)).groups, []);
  }, { membersPerGroup: 2 });

  test("a user with all the groups allowed neither makes nor joins another", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const [first, second] = [await makeGroup(store, "g", [a]), await makeGroup(store, "h", [b])];
    const third = await makeGroup(store, "i", [b]);
    assertEquals(await store.joinGroup(a, second), { name: "h" });
    assertEquals(await store.joinGroup(a, third), { refused: "full" });
    assertEquals(await store.createGroup(a, "j", ""), { refused: "full" });
    assertEquals(await store.joinGroup(a, first), { name: "g" });
    assertEquals((await store.contacts(a, 50)).groups.map(({ id }) => id), [first, second]);
  }, { groupsPerUser: 2 });

  test("members come in pages by id, to members only", async (store) => {
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
    assertEquals(await store.members(a, NOBODY, 0, 10), { refused: "not_found" });
  });
}
