/**
 * The MySQL store predicts the last seq of a conversation, from its own commits and from hints. A wrong
 * prediction changes nothing in the database.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { until } from "../harness/wait.ts";
import { withStores } from "./mysql_fixture.ts";
import { granted, makeGroup, makeUsers, NOON, send, whole } from "./store_fixture.ts";

const mariadb = sharedMariadb();

mariadb.test("prediction: I2 leaves no gap when another node has written meanwhile", async (db) => {
  await withStores(2, db, async (first, second) => {
    const [a, b] = await makeUsers(first!, 2) as [number, number];
    const sent: number[] = [];
    for (const store of [first, first, second, first, second, second, second, first, first, first]) {
      sent.push(granted(await send(store!, a, b, `${sent.length}`)).seq);
    }
    assertEquals(sent, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const cids = (await whole(first!, a, b)).map(({ cid }) => cid);
    assertEquals(cids, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assertEquals(await db.sql("SELECT last_seq FROM Conversation"), [{ last_seq: 10 }]);
  });
});

mariadb.test("prediction: I2 leaves no gap after a wrong hint, which reports no loss", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    const { epoch } = await store!.identity();
    const sent = [granted(await send(store!, a, b, "first")).seq];
    for (const seq of [7, 2 ** 31 - 1, 2 ** 40, Number.MAX_SAFE_INTEGER]) {
      store!.noteCommitted(a, { seq, sender: b, senderName: "u2", cid: "hint", body: "", time: NOON });
      for (const cid of ["at once", "later"]) {
        sent.push(granted(await send(store!, a, b, `${seq} ${cid}`)).seq);
      }
    }
    assertEquals(sent, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assertEquals((await whole(store!, a, b)).map(({ seq }) => seq), sent);
    assertEquals((await store!.identity()).epoch, epoch);
  });
});

mariadb.test("prediction: I2 leaves no gap when two nodes write at the same time", async (db) => {
  await withStores(2, db, async (...stores) => {
    const [a, b] = await makeUsers(stores[0]!, 2) as [number, number];
    await Promise.all(stores.map(async (store, at) => {
      for (let i = 0; i < 50; i++) granted(await send(store, a, b, `${at} ${i}`));
    }));
    const seqs = (await whole(stores[0]!, a, b)).map(({ seq }) => seq);
    assertEquals(seqs, Array.from({ length: 100 }, (_, i) => i + 1));
  });
});

mariadb.test("prediction: times do not decrease", async (db) => {
  await withStores(2, db, async (first, second) => {
    const [a, b] = await makeUsers(first!, 2) as [number, number];
    const times: number[] = [];
    for (
      const [store, time] of [[first, 5], [first, 3], [first, 7], [second, 9], [first, 8], [
        first,
        6,
      ]] as const
    ) {
      times.push(granted(await send(store!, a, b, `${times.length}`, { time: NOON + time })).time - NOON);
    }
    assertEquals(times, [5, 5, 7, 9, 9, 9]);
    assertEquals((await whole(first!, a, b)).map(({ time }) => time - NOON), times);
  });
});

mariadb.test("prediction: writes nothing in another epoch", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    granted(await send(store!, a, b, "1"));
    await db.sql("UPDATE StoreIdentity SET epoch = 'another'");
    await assertRejects(() => send(store!, a, b, "2"), StoreUnavailableError);
    assertEquals(await db.sql("SELECT last_seq FROM Conversation"), [{ last_seq: 1 }]);
    assertEquals(await db.sql("SELECT COUNT(*) AS count FROM Message"), [{ count: 1 }]);
  });
});

mariadb.test("prediction: a renewal of the epoch waits for the transaction", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    granted(await send(store!, a, b, "1"));
    await using operator = await db.transaction();
    await operator.sql("SELECT * FROM Conversation FOR UPDATE");
    const sending = send(store!, a, b, "2").catch(() => {}); // it waits for the lock for a second
    const renewable = () => db.sql("SELECT epoch FROM StoreIdentity FOR UPDATE NOWAIT").then(() => true);
    try {
      await until(async () => !await renewable().catch(() => false), "a transaction that keeps the epoch");
    } finally {
      await operator.sql("COMMIT");
      await sending;
    }
  });
});

mariadb.test("prediction: creates a deleted conversation again", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    granted(await send(store!, a, b, "1"));
    await db.sql("DELETE FROM Conversation");
    assertEquals(granted(await send(store!, a, b, "2")).seq, 2);
    assertEquals(await db.sql("SELECT last_seq FROM Conversation"), [{ last_seq: 2 }]);
  });
});

mariadb.test("prediction: I5 finds a cid that another node has stored", async (db) => {
  await withStores(2, db, async (first, second) => {
    const [a, b] = await makeUsers(first!, 2) as [number, number];
    granted(await send(first!, a, b, "1"));
    granted(await send(first!, a, b, "2"));
    assertEquals(granted(await send(first!, a, b, "1")), { seq: 1, time: NOON, duplicate: true });
    granted(await send(second!, a, b, "3"));
    assertEquals(granted(await send(first!, a, b, "3")), { seq: 3, time: NOON, duplicate: true });
    assertEquals(granted(await send(first!, a, b, "4")).seq, 4);
  });
});

mariadb.test("prediction: stores a batch of several conversations, whose last messages it knows", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b, c] = await makeUsers(store!, 3) as [number, number, number];
    for (const cid of ["1", "2"]) {
      const sent = await Promise.all([b, c].map((peer) => send(store!, a, peer, `${cid} to ${peer}`)));
      assertEquals(sent.map((each) => granted(each).seq), [Number(cid), Number(cid)]);
    }
  });
});

mariadb.test("prediction: rejects a message that the database refuses, alone", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store!, 2) as [number, number];
    granted(await send(store!, a, b, "1"));
    const [refused, stored] = await Promise.allSettled([
      send(store!, a, b, "x".repeat(300)), // longer than the column
      send(store!, a, b, "2"),
    ]);
    assertEquals([refused.status, stored.status], ["rejected", "fulfilled"]);
    assertEquals(granted(await send(store!, a, b, "3")).seq, 3);
  });
});

mariadb.test("prediction: I8 rejects a sender that is no longer a member", async (db) => {
  await withStores(1, db, async (store) => {
    const users = await makeUsers(store!, 2) as [number, number];
    const group = await makeGroup(store!, "g", users);
    for (const cid of ["1", "2"]) granted(await send(store!, users[1], -group, cid));
    await db.sql("DELETE FROM GroupUser WHERE userid = ?", [users[1]]);
    assertEquals(await send(store!, users[1], -group, "3"), { refused: "forbidden" });
  });
});
