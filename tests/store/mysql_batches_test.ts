/** The MySQL store's batches of reads and registrations: their bounds, and calls that fail alone. */
import { assertEquals, assertLessOrEqual, assertRejects } from "@std/assert";
import { MysqlConnection } from "../../lib/store/mysql/mysql_connection.ts";
import { MAX_ROWS_PER_BATCH } from "../../lib/store/mysql/read_batches.ts";
import { type Rejection, StoreUnavailableError } from "../../lib/store/store.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { Relay } from "../harness/relay.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { granted, idOf, makeCrowd, makeUsers } from "./store_fixture.ts";

const mariadb = sharedMariadb();

/** The most groups in one statement that reads members: all that one user has by default. */
const MAX_GROUPS_PER_QUERY = 500;

/** Runs `body`. Returns the most groups in one statement that reads members, and the most rows of a result. */
async function largestOf(body: () => Promise<void>): Promise<{ groups: number; rows: number }> {
  const { query } = MysqlConnection.prototype;
  const most = { groups: 0, rows: 0 };
  MysqlConnection.prototype.query = async function (...statements) {
    for (const { text } of statements) {
      most.groups = Math.max(most.groups, text.split("FROM GroupUser WHERE groupid = ").length - 1);
    }
    const results = await query.call(this, ...statements);
    most.rows = Math.max(most.rows, ...results.map(({ rows }) => rows.length));
    return results;
  };
  try {
    await body();
  } finally {
    MysqlConnection.prototype.query = query;
  }
  return most;
}

/** Makes these users members of `count` groups each, which have no other members. */
async function makeGroups(db: TestDatabase, users: readonly number[], count: number): Promise<void> {
  const members = users.flatMap((user) => Array.from({ length: count }, () => user));
  const list = (row: (user: number, id: number) => string) =>
    members.map((user, at) => row(user, at + 1)).join();
  await db.sql(
    `INSERT INTO AllGroup (id, groupname, members) VALUES ${list((_, id) => `(${id}, 'g${id}', 1)`)}`,
  );
  await db.sql(`INSERT INTO GroupUser (groupid, userid) VALUES ${list((user, id) => `(${id}, ${user})`)}`);
}

for (const [groups, words] of [[60, "some"], [300, "too many"]] as const) {
  mariadb.test(`batches: I7 bounds the statements for contacts of users with ${words} groups`, async (db) => {
    await withStores(1, db, async (store) => {
      const users = await makeCrowd(store!, 20);
      await makeGroups(db, users, groups);
      const most = await largestOf(async () => {
        const contacts = await Promise.all(users.map((user) => store!.contacts(user, 50)));
        assertEquals(
          contacts.map(({ groups }) => groups.map(({ users: [member] }) => member?.id)),
          users.map((user) => Array.from({ length: groups }, () => user)),
        );
      });
      assertLessOrEqual(most.groups, MAX_GROUPS_PER_QUERY);
      assertLessOrEqual(most.rows, MAX_ROWS_PER_BATCH + 1);
    });
  });
}

mariadb.test("batches: returns all friends when the lists of a batch are too long together", async (db) => {
  await withStores(1, db, async (store) => {
    const users = await makeCrowd(store!, 100);
    const friends = users.flatMap((user) => users.map((friend) => `(${user}, ${friend})`));
    await db.sql(`INSERT INTO Friend (userid, friendid) VALUES ${friends.join()}`);
    const contacts = await Promise.all(users.map((user) => store!.contacts(user, 50)));
    for (const { friends } of contacts) assertEquals(friends.map(({ id }) => id), users);
  });
});

mariadb.test("batches: an account that the database rejects does not prevent others", async (db) => {
  await withStores(1, db, async (store) => {
    const [long, ann, bob] = await Promise.allSettled([
      store!.createUser("x".repeat(51), "hash"), // longer than the column
      store!.createUser("ann", "hash of ann"),
      store!.createUser("bob", "hash of bob"),
    ]);
    assertEquals(long.status, "rejected");
    for (const [name, made] of [["ann", ann], ["bob", bob]] as const) {
      const account = await store!.findUser({ name });
      assertEquals(account?.password, `hash of ${name}`);
      assertEquals(made, { status: "fulfilled", value: { id: account!.id } });
    }
  });
});

mariadb.test("batches: a name that only the database finds in use does not prevent others", async (db) => {
  await withStores(1, db, async (store) => {
    const [ann] = await makeUsers(store!, 1) as [number]; // its name is u1
    // The lookup of `U1` returns another name, as if another node had created it after the lookup.
    await db.sql("ALTER TABLE User MODIFY name VARCHAR(50) COLLATE utf8mb4_general_ci NOT NULL");
    const [first, second, third] = await Promise.all(
      ["bob", "U1", "carol"].map((name) => store!.createUser(name, "hash")),
    );
    assertEquals(second, { refused: "name_in_use" });
    assertEquals((await store!.findUser({ name: "U1" }))?.id, ann);
    assertEquals((await store!.findUser({ name: "bob" }))?.id, idOf(first!));
    assertEquals((await store!.findUser({ name: "carol" }))?.id, idOf(third!));
  });
});

mariadb.test("batches: registrations of one name at the same time use up one id", async (db) => {
  await withStores(1, db, async (store) => {
    // The database ignores spaces at the end of a name when it compares names.
    const names = ["ann", "ann ", "bob", "ann", "carol"];
    const made = await Promise.all(names.map((name) => store!.createUser(name, "hash")));
    const refused: Rejection = { refused: "name_in_use" };
    assertEquals(made, [{ id: 1 }, refused, { id: 2 }, refused, { id: 3 }]);
    assertEquals(await store!.createUser("carol ", "hash"), refused);
    assertEquals(await store!.createUser("dave", "hash"), { id: 4 });
  });
});

mariadb.test("batches: registrations end at the first failure of the database", async (db) => {
  await using relay = new Relay(db.server);
  const store = await openMysql(`mysql://root@${relay.host}:${relay.port}/${db.name}`);
  try {
    let cuts = 0;
    relay.decide = (part) => {
      // The first batch fails because of its long name. Then its accounts are created one by one.
      if (!part.includes("INSERT INTO User") || part.includes("xxx")) return "pass";
      cuts++;
      return "cut";
    };
    const names = ["x".repeat(51), ...Array.from({ length: 20 }, (_, i) => `u${i}`)];
    const made = await Promise.allSettled(names.map((name) => store.createUser(name, "hash")));
    assertEquals(made.map(({ status }) => status), names.map(() => "rejected"));
    assertEquals(cuts, 1);
    relay.decide = () => "pass";
    granted(await store.createUser("u1", "hash"));
    await assertRejects(() => store.createUser(names[0]!, "hash"), StoreUnavailableError);
  } finally {
    await store.close();
  }
});
