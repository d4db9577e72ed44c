/** Contract of every store: accounts, opening and closing. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { type Account, PLAINTEXT_PREFIX, type Store, StoreUnavailableError } from "../../lib/store/store.ts";
import { type ContractTest, idOf, makeGroup, makeUsers, NOON, UNKNOWN_ID } from "./store_fixture.ts";

/** Registers the tests. */
export function accountContract(test: ContractTest): void {
  test("finds an account by id and by name", async (store) => {
    const [, id] = await makeUsers(store, 3) as [number, number, number];
    const account = { id, name: "u2", password: "hash 2", online: false };
    assertEquals(await store.findUser({ id }), account);
    assertEquals(await store.findUser({ name: "u2" }), account);
    assertEquals(await store.findUser({ id: UNKNOWN_ID }), undefined);
    assertEquals(await store.findUser({ name: "unknown" }), undefined);
  });

  test("assigns a name once, also within one batch", async (store) => {
    const results = await Promise.all(
      ["ann", "ann", "bob", "ann"].map((name) => store.createUser(name, "hash")),
    );
    assertEquals(results.map((result) => "refused" in result ? result.refused : "made"), [
      "made",
      "name_in_use",
      "made",
      "name_in_use",
    ]);
    assertEquals(await store.createUser("bob", "other"), { refused: "name_in_use" });
    assertEquals((await store.findUser({ name: "bob" }))?.password, "hash");
  });

  test("compares names by code points: case, accents and width are significant", async (store) => {
    const names = [
      "ann",
      "Ann",
      "ánn",
      "a\u0301nn",
      "ａnn",
      " ann",
      "ß",
      "ss",
      "\ufeffann",
      "ann\t",
      "a\nnn",
      "ann\u007f",
      "\u200b",
      "😀",
      "😃",
    ];
    for (const name of names) idOf(await store.createUser(name, "hash"));
    for (const name of names) assertEquals((await store.findUser({ name }))?.name, name);
  });

  test("stores the longest name completely", async (store) => {
    const name = "😀".repeat(50);
    const id = idOf(await store.createUser(name, "hash"));
    assertEquals((await store.findUser({ id }))?.name, name);
  });

  test("stores quotes, escapes and patterns in names, and matches them literally", async (store) => {
    const names = [
      "o'hara",
      "o''hara",
      '"',
      "\\",
      "\\\\",
      "\\0",
      "%",
      "_",
      "a%",
      "?",
      ":a",
      "$1",
      "`",
      "--",
      "/*",
      "${x}",
    ];
    for (const name of names) idOf(await store.createUser(name, name));
    for (const name of names) assertEquals((await store.findUser({ name }))?.password, name);
    const [creator] = await makeUsers(store, 1) as [number];
    for (const name of names) idOf(await store.createGroup(creator, name, name));
    const { groups } = await store.contacts(creator, 50);
    assertEquals(
      groups.map(({ name, description }) => [name, description]),
      names.map((name) => [name, name]),
    );
    assertEquals(await store.createGroup(creator, "%", ""), { refused: "name_in_use" });
  });

  test("replaces a password only when it still is the expected one", async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const passwords = async () =>
      await Promise.all([a, b].map(async (id) => (await store.findUser({ id }))?.password));
    await store.setPassword(a, "new", "hash 1");
    assertEquals(await passwords(), ["new", "hash 2"]);
    for (const was of ["hash 1", "NEW", "", "%", "hash 2"]) await store.setPassword(a, "newer", was);
    assertEquals(await passwords(), ["new", "hash 2"]);
    await Promise.all(["second", "third"].map((hash) => store.setPassword(a, hash, "new")));
    assertEquals(await passwords(), ["second", "hash 2"], "one of two concurrent replacements succeeds");
    await store.setPassword(a, "second", "second");
    assertEquals(await passwords(), ["second", "hash 2"]);
  });

  test("returns plaintext accounts in pages by id, until they are hashed", async (store) => {
    const plain = [PLAINTEXT_PREFIX, `${PLAINTEXT_PREFIX}secret`, `${PLAINTEXT_PREFIX}%_'\\ 😀`];
    const others = [
      "hash",
      "$argon2id$v=19$m=19456,t=2,p=1$a$b",
      "$plain",
      PLAINTEXT_PREFIX.toUpperCase(),
      `x${PLAINTEXT_PREFIX}y`,
      ` ${PLAINTEXT_PREFIX}y`,
    ];
    const expected = [];
    for (const [i, password] of [...plain, ...others].entries()) {
      const [name, other] = [`p${i}`, `o${i}`];
      const id = idOf(await store.createUser(name, password));
      if (i < plain.length) expected.push({ id, name, password, online: false });
      idOf(await store.createUser(other, "hash"));
    }
    const [first, second, third] = expected as [Account, Account, Account];
    assertEquals(await store.plaintextAccounts(0, 10), [first, second, third]);
    assertEquals(await store.plaintextAccounts(0, 2), [first, second]);
    assertEquals(await store.plaintextAccounts(second.id, 2), [third]);
    assertEquals(await store.plaintextAccounts(third.id, 2), []);
    await store.setPassword(second.id, "hash", second.password);
    await store.claimAccount(third.id);
    assertEquals(await store.plaintextAccounts(0, 10), [first, { ...third, online: true }]);
  });

  test("has all data after a reopening", async (store, reopen) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const group = await makeGroup(store, "g", [a, b]);
    await store.addFriend(a, b);
    const login = await store.claimAccount(a);
    await store.saveSession({ user: a, loginEpoch: login }, new Uint8Array(32).fill(7), NOON);
    const all = async (of: Store) =>
      await Promise.all([
        of.contacts(a, 50),
        of.findSession(a),
        of.findUser({ id: b }),
        of.latestLoginEpochs([a, b]),
      ]);
    const before = await all(store);
    const again = await reopen();
    assertEquals(await all(again), before);
    assert(await again.claimAccount(a) > login, "no login epoch is assigned twice");
    assertEquals(await again.createUser("u1", "hash"), { refused: "name_in_use" });
    assert(idOf(await again.createUser("u3", "hash")) > b, "no id is assigned twice");
    assert(idOf(await again.createGroup(a, "h", "")) > group);
  });

  test(
    "finishes calls before close, and rejects calls after it",
    async (store, reopen) => {
      const made = store.createUser("ann", "hash");
      const found = store.findUser({ name: "ann" });
      const closed = store.close();
      await assertRejects(() => store.createUser("bob", "hash"), StoreUnavailableError);
      await assertRejects(() => store.findUser({ name: "ann" }), StoreUnavailableError);
      const id = idOf(await made);
      await found;
      await closed;
      await store.close();
      await assertRejects(() => store.findUser({ name: "ann" }), StoreUnavailableError);
      const again = await reopen();
      assertEquals((await again.findUser({ name: "ann" }))?.id, id);
      assertEquals(await again.findUser({ name: "bob" }), undefined);
    },
  );
}
