/** The epoch on MySQL: a store never writes into another history than the one that it knows. */
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { until } from "../harness/wait.ts";
import { withStores } from "./mysql_fixture.ts";
import { granted, makeGroup, makeUsers, NOON, send } from "./store_fixture.ts";

const mariadb = sharedMariadb();

mariadb.test("epoch: reports a loss when a conversation is shorter than before", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b, c, d] = await makeUsers(store!, 4) as [number, number, number, number];
    const { epoch } = await store!.identity();
    for (const cid of ["1", "2", "3"]) granted(await send(store!, a, b, cid));
    granted(await send(store!, a, d, "to d"));
    await db.sql("DELETE FROM Message WHERE seq > 1");
    await db.sql("UPDATE Conversation SET last_seq = 1");
    await assertRejects(() => send(store!, a, b, "4"), StoreUnavailableError);
    // Until the epoch is renewed, also in conversations that lack nothing.
    for (const peer of [b, c, d]) {
      await assertRejects(() => send(store!, a, peer, "5"), StoreUnavailableError);
    }
    const renewed = await store!.identity();
    assertNotEquals(renewed.epoch, epoch);
    store!.adoptEpoch(renewed.epoch);
    assertEquals(granted(await send(store!, a, b, "4")).seq, 2);
  });
});

mariadb.test("epoch: reports a loss when a cursor is beyond the last seq", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    const { epoch } = await store!.identity();
    for (const cid of ["1", "2", "3"]) granted(await send(store!, a, b, cid));
    await db.sql("DELETE FROM Message WHERE seq > 1");
    await db.sql("UPDATE Conversation SET last_seq = 1");
    await store!.advanceCursors([{ user: b, peer: a, seq: 3 }]);
    assertNotEquals((await store!.identity()).epoch, epoch);
    assertEquals((await store!.unread(b, 10)).map(({ cursor, last }) => [cursor, last]), [[0, 1]]);
  });
});

mariadb.test("epoch: moves a cursor to the last message without a conversation's row", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    const { epoch } = await store!.identity();
    for (const cid of ["1", "2", "3"]) granted(await send(store!, a, b, cid));
    await db.sql("DELETE FROM Message WHERE seq > 2");
    await db.sql("DELETE FROM Conversation");
    await store!.advanceCursors([{ user: b, peer: a, seq: 3 }]);
    assertEquals((await store!.identity()).epoch, epoch);
    const cursors = await db.sql("SELECT seq FROM MemberCursor WHERE userid = ?", [b]);
    assertEquals(JSON.stringify(cursors), '[{"seq":2}]');
  });
});

mariadb.test("epoch: reports a loss when an id is allocated twice", async (db) => {
  await withStores(1, db, async (store) => {
    const [, , last] = await makeUsers(store!, 3) as [number, number, number];
    const { epoch } = await store!.identity();
    await db.sql("DELETE FROM User WHERE id = ?", [last]);
    await db.sql("ALTER TABLE User AUTO_INCREMENT = 1");
    await assertRejects(() => store!.createUser("other", "hash"), StoreUnavailableError);
    const renewed = await store!.identity();
    assertNotEquals(renewed.epoch, epoch);
    await db.sql("DELETE FROM User");
    await db.sql("ALTER TABLE User AUTO_INCREMENT = 1");
    store!.adoptEpoch(renewed.epoch);
    assertEquals(await store!.createUser("other", "hash"), { id: 1 }, "in another history");
  });
});

mariadb.test("epoch: never allocates an id that rows of any table refer to", async (db) => {
  await withStores(1, db, async (store) => {
    const [a] = await makeUsers(store!, 1) as [number];
    const nextUser = async () =>
      granted(await store!.createUser(crypto.randomUUID().slice(0, 20), "hash")).id;
    const nextGroup = async () =>
      granted(await store!.createGroup(a, crypto.randomUUID().slice(0, 20), "")).id;
    const rows = [
      "INSERT INTO Friend (userid, friendid) VALUES (?, 1)",
      "INSERT INTO Friend (userid, friendid) VALUES (1, ?)",
      "INSERT INTO GroupUser (groupid, userid) VALUES (999, ?)",
      "INSERT INTO MemberCursor (userid, low, high, seq) VALUES (?, 1, 2, 0)",
      "INSERT INTO Message (low, high, seq, sender, cid, time, body) VALUES (1, 2, 1, ?, 'c', 1, 'secret')",
      "INSERT INTO Session (userid, token_hash, expires) VALUES (?, REPEAT('x', 32), 1)",
    ];
    for (const row of rows) {
      const wanted = await nextUser() + 1;
      await db.sql(row, [wanted]);
      assert(await nextUser() > wanted, row);
    }
    const groupRows = [
      "INSERT INTO GroupUser (groupid, userid) VALUES (?, 1)",
      "INSERT INTO Conversation (low, high, last_seq) VALUES (0, ?, 7)",
    ];
    for (const row of groupRows) {
      const wanted = await nextGroup() + 1;
      await db.sql(row, [wanted]);
      assert(await nextGroup() > wanted, row);
    }
  });
});

mariadb.test("epoch: allocates no id of a batch that rows refer to", async (db) => {
  await withStores(1, db, async (store) => {
    const [a] = await makeUsers(store!, 1) as [number];
    await db.sql("INSERT INTO Friend (userid, friendid) VALUES (1, ?)", [a + 2]);
    const made = await Promise.all(["b", "c", "d"].map((name) => store!.createUser(name, "hash")));
    for (const created of made) assert(granted(created).id > a + 2);
  });
});

mariadb.test("epoch: rejects writes, and not reads, of a store that does not know a renewal", async (db) => {
  await withStores(2, db, async (...stores) => {
    const [store, other] = stores as [typeof stores[0], typeof stores[0]];
    const [a, b] = await makeUsers(store, 2) as [number, number];
    granted(await send(store, a, b, "1"));
    const login = await store.claimAccount(a);
    const group = await makeGroup(store, "old", [a]);
    await other.renewEpoch((await other.identity()).epoch);
    const changes: (() => Promise<unknown>)[] = [
      () => send(store, a, b, "2"),
      () => store.advanceCursors([{ user: b, peer: a, seq: 1 }]),
      () => store.createUser("new", "hash"),
      () => store.setPassword(b, "other", "hash 2"),
      () => store.claimAccount(b),
      () => store.saveSession({ user: a, loginEpoch: login }, new Uint8Array(32), NOON),
      () => store.deleteSession({ user: a, loginEpoch: login }),
      () => store.releaseAccounts([{ user: a, loginEpoch: login }]),
      () => store.reclaimAccounts([{ user: a, loginEpoch: login }]),
      () => store.addFriend(a, b),
      () => store.createGroup(a, "g", ""),
      () => store.joinGroup(b, group),
    ];
    for (const change of changes) await assertRejects(change, StoreUnavailableError);
    assertEquals(await db.sql("SELECT COUNT(*) AS n FROM Message"), [{ n: 1 }]);
    assertEquals((await store.read(b, a, undefined, 10, 1_000)).after, 0);
    store.adoptEpoch((await store.identity()).epoch);
    for (const change of changes) await change();
  });
});

mariadb.test("epoch: is renewed once when two nodes see the same loss", async (db) => {
  await withStores(2, db, async (...stores) => {
    const { epoch } = await stores[0]!.identity();
    await Promise.all(stores.map((store) => store.renewEpoch(epoch)));
    const renewed = await stores[0]!.identity();
    await stores[1]!.renewEpoch(epoch);
    assertEquals(await stores[1]!.identity(), renewed);
  });
});

mariadb.test("epoch: a renewal waits for each transaction that has read the epoch", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    granted(await send(store!, a, b, "0"));
    await using operator = await db.transaction();
    await operator.sql("SELECT * FROM Conversation WHERE low = ? AND high = ? FOR UPDATE", [a, b]);
    const renewable = () => db.sql("SELECT epoch FROM StoreIdentity FOR UPDATE NOWAIT").then(() => true);
    assert(await renewable(), "no transaction has read it");
    let isKept = false;
    const sending = (async () => {
      // Each waits for a second.
      for (let n = 1; !isKept; n++) await send(store!, a, b, `${n}`).catch(() => {});
    })();
    try {
      await until(async () => !await renewable().catch(() => false), "a transaction that keeps the epoch");
    } finally {
      isKept = true;
      await operator.sql("COMMIT");
      await sending;
    }
  });
});

mariadb.test("epoch: does not allocate the id of a group again while its conversation exists", async (db) => {
  let last = 0;
  await withStores(1, db, async (store) => {
    const [a] = await makeUsers(store!, 1) as [number];
    for (const name of ["one", "two"]) last = granted(await store!.createGroup(a, name, "")).id;
  });
  for (const [table, column] of [["AllGroup", "id"], ["GroupUser", "groupid"]]) {
    await db.sql(`DELETE FROM ${table} WHERE ${column} = ?`, [last]);
  }
  await db.sql("ALTER TABLE AllGroup AUTO_INCREMENT = 1");
  await withStores(1, db, async (store) => {
    assertEquals(await store!.createGroup(1, "three", ""), { id: last + 1 });
  });
});

mariadb.test("epoch: raises the counters above the ids that rows refer to at the start", async (db) => {
  let last = 0;
  await withStores(1, db, async (store) => {
    const [a, b, c] = await makeUsers(store!, 3) as [number, number, number];
    granted(await store!.addFriend(a, c));
    granted(await send(store!, b, c, "1"));
    last = c;
  });
  await db.sql("DELETE FROM User WHERE id = ?", [last]);
  await db.sql("ALTER TABLE User AUTO_INCREMENT = 1");
  await withStores(1, db, async (store) => {
    assertEquals(await store!.createUser("new", "hash"), { id: last + 1 });
  });
});
