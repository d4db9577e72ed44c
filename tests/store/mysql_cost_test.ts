/** The cost of the MySQL store's calls: round trips, statements and rows. */
import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";
import { type ConversationKey, conversationName } from "../../lib/store/conversation.ts";
import { parseAddress } from "../../lib/store/mysql/address.ts";
import { ConversationCache } from "../../lib/store/mysql/conversation_cache.ts";
import type { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { MysqlConnection } from "../../lib/store/mysql/mysql_connection.ts";
import { MAX_ROWS_PER_BATCH } from "../../lib/store/mysql/read_batches.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { wrapped } from "../harness/nodes.ts";
import { Relay } from "../harness/relay.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { granted, idOf, makeCrowd, makeGroup, makeUsers, NOON, send } from "./store_fixture.ts";

const mariadb = sharedMariadb();

/** The cost of some work. */
interface Cost {
  readonly roundTrips: number;
  readonly statements: number;
}

/** Registers a test that can measure the cost of calls. */
function costTest(
  name: string,
  body: (
    store: MysqlStore,
    measure: (work: () => Promise<unknown>) => Promise<Cost>,
    db: TestDatabase,
  ) => Promise<void>,
): void {
  mariadb.test(`mysql: ${name}`, async (db) => {
    await using relay = new Relay(db.server);
    const store = await openMysql(`mysql://root@${relay.host}:${relay.port}/${db.name}`);
    const measure = async (work: () => Promise<unknown>) => {
      const statements = await status(db, "Questions");
      const { roundTrips } = relay;
      await work();
      return {
        roundTrips: relay.roundTrips - roundTrips,
        statements: await status(db, "Questions") - statements - OWN_STATEMENTS,
      };
    };
    try {
      await body(store, measure, db);
    } finally {
      await store.close();
    }
  });
}

/** Statements of the measurement itself: the query, and the end of its connection. */
const OWN_STATEMENTS = 2;

/** The check of the server's settings, which is part of one request a second. */
const RECHECKS = 1;

/** Returns a counter of the server, summed over all connections. */
async function status(db: TestDatabase, counter: string): Promise<number> {
  const rows = await db.sql("SHOW GLOBAL STATUS LIKE ?", [counter]);
  return rows.reduce((sum, { Value }) => sum + Number(Value), 0);
}

costTest(
  "a batch of messages takes two round trips and ten statements, of any size",
  async (store, measure) => {
    const users = await makeCrowd(store, 40);
    const group = await makeGroup(store, "g", users);
    const pairs = users.flatMap((a) => users.map((b) => [a, b] as const));
    await send(store, users[0]!, -group, "to the group");
    // The conversations exist and are in the cache.
    await Promise.all(pairs.map(([a, b]) => send(store, a, b, `to ${b}`)));
    for (const size of [1, 10, 1_000]) {
      const cost = await measure(() =>
        Promise.all(Array.from({ length: size }, async (_, i) => {
          const [a, b] = pairs[i]!;
          return granted(await send(store, a, i % 5 ? b : -group, `${size} ${i}`));
        }))
      );
      assertEquals(cost.roundTrips, 2, `of ${size}`);
      assert(cost.statements === 10 || cost.statements === 10 + RECHECKS, `${cost.statements} of ${size}`);
    }
  },
);

costTest(
  "messages take one round trip and six statements if the node knows the last one",
  async (store, measure) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, b, "first");
    for (const size of [1, 10]) {
      const cost = await measure(() =>
        Promise.all(
          Array.from({ length: size }, (_, i) => send(store, i % 2 ? a : b, i % 2 ? b : a, `${size} ${i}`)),
        )
      );
      assertEquals(cost.roundTrips, 1, `of ${size}`);
      assert(cost.statements === 6 || cost.statements === 6 + RECHECKS, `${cost.statements} of ${size}`);
    }
  },
);

costTest(
  "messages take two round trips while the node does not know the last one, after two more once",
  async (store, measure, db) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await withStores(1, db, async (other) => {
      await send(store, a, b, "first");
      const trips: number[] = [];
      for (let i = 0; i < 3; i++) {
        await send(other, b, a, `other ${i}`);
        trips.push((await measure(() => send(store, a, b, `own ${i}`))).roundTrips);
      }
      for (const cid of ["alone 1", "alone 2"]) {
        trips.push((await measure(() => send(store, a, b, cid))).roundTrips);
      }
      assertEquals(trips, [4, 2, 2, 2, 1]);
    });
  },
);

costTest(
  "messages take one round trip after a hint of another node's message",
  async (store, measure, db) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await withStores(1, db, async (other) => {
      await send(store, a, b, "first");
      for (let i = 0; i < 3; i++) {
        const { seq, time } = granted(await send(other!, b, a, `other ${i}`));
        const hint = { seq, sender: b, senderName: "u2", cid: `other ${i}`, body: "", time };
        store.noteCommitted(a, hint);
        store.noteCommitted(a, { ...hint, seq: 1 }); // an older one
        assertEquals((await measure(() => send(store, a, b, `own ${i}`))).roundTrips, 1);
      }
    });
  },
);

costTest("the first messages of many pairs take three more round trips, together", async (store, measure) => {
  const [a, ...others] = await makeCrowd(store, 101) as [number, ...number[]];
  await send(store, a, a, "to myself"); // the connection is open
  const cost = await measure(() => Promise.all(others.map((b) => send(store, a, b, `to ${b}`))));
  assertLessOrEqual(cost.roundTrips, 5);
  assertLessOrEqual(cost.statements, 10 + 10 + 5 + RECHECKS);
});

costTest("messages during a batch go together", async (store, measure) => {
  const users = await makeCrowd(store, 2);
  const [a, b] = users as [number, number];
  await send(store, a, b, "first");
  const cost = await measure(() =>
    Promise.all(Array.from({ length: 2_000 }, async (_, i) => {
      for (let turn = 0; turn < i % 100; turn++) await undefined; // in different microtask runs
      return await send(store, a, b, `${i}`, { body: "x".repeat(100) });
    }))
  );
  assertLessOrEqual(cost.roundTrips, 8);
});

costTest("registrations that arrive together go together", async (store, measure) => {
  await makeUsers(store, 1); // the connection is open
  const names = Array.from({ length: 100 }, (_, i) => `name ${i}`);
  const cost = await measure(async () => {
    const created = await Promise.all(["u1", ...names.slice(1)].map((name) => store.createUser(name, name)));
    assertEquals(created[0], { refused: "name_in_use" });
    const ids = created.slice(1).map(idOf);
    assertEquals(new Set(ids).size, ids.length);
    assertEquals(ids, ids.toSorted((a, b) => a - b), "in the order of calls");
  });
  assertLessOrEqual(cost.roundTrips, 3);
  assertLessOrEqual(cost.statements, 10 + RECHECKS);
  for (const name of names.slice(1)) assertEquals((await store.findUser({ name }))!.password, name);
});

costTest("logins and sessions of a login storm go together", async (store, measure) => {
  const users = await makeCrowd(store, 1_000);
  const logins: number[] = [];
  const begun = await measure(async () => {
    logins.push(...await Promise.all(users.map((user) => store.claimAccount(user))));
  });
  const saved = await measure(() =>
    Promise.all(
      users.map((user, i) => store.saveSession({ user, loginEpoch: logins[i]! }, new Uint8Array(32), NOON)),
    )
  );
  for (const cost of [begun, saved]) {
    assertLessOrEqual(cost.roundTrips, 4); // including the begin of a connection
    assertLessOrEqual(cost.statements, 16); // including the checks of a new connection
  }
  assertEquals((await store.onlineLogins(0, 2_000)).length, 1_000);
});

costTest("the reads of a login storm go together", async (store, measure) => {
  const users = await makeCrowd(store, 200);
  const [a] = users as [number];
  const group = await makeGroup(store, "g", users.slice(0, 10));
  await Promise.all(users.map((user) => send(store, a, user, `to ${user}`)));
  await Promise.all(users.map((user) => store.addFriend(user, a)));
  const { roundTrips, statements } = await measure(() =>
    Promise.all(users.map(async (user, i) => {
      await store.findSession(user);
      const [{ friends, groups }] = await Promise.all([
        store.contacts(user, 50),
        store.followers(user, 0, 1_000),
      ]);
      assertEquals(friends.map(({ id }) => id), [a]);
      assertEquals(groups.map(({ id }) => id), i < 10 ? [group] : []);
      assertEquals((await store.unread(user, 200)).length, user === a ? 200 : 1); // own messages count here
    }))
  );
  assertLessOrEqual(roundTrips, 20);
  assertLessOrEqual(statements, 30);
});

costTest("reads are complete when a batch has too many rows", async (store, _, db) => {
  const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
  const count = MAX_ROWS_PER_BATCH + 10;
  await db.sql(`INSERT INTO Friend (userid, friendid) SELECT seq, ? FROM ${SEQS_2_TO_100000} LIMIT ?`, [
    a,
    count,
  ]);
  await store.addFriend(a, c);
  const followers = await Promise.all([store.followers(a, 0, 1_000), store.followers(c, 0, 1_000)]);
  assertEquals(followers.map(({ length }) => length), [1_000, 1]);
  const more = await Promise.all([
    store.followers(a, followers[0]!.at(-1)!, count),
    store.followers(b, 0, 1),
  ]);
  assertEquals(new Set([...followers[0]!, ...more[0]]).size, count);

  // Cursors without conversations are gaps, which have to be looked at.
  const cursors = `INSERT INTO MemberCursor (userid, low, high, seq) SELECT ?, 1, 1000 + seq, 0`;
  await db.sql(`${cursors} FROM ${SEQS_2_TO_100000} LIMIT ?`, [b, count]);
  await Promise.all([b, c].map((user) => send(store, a, user, `to ${user}`)));
  const unread = await Promise.all([store.unread(b, 10), store.unread(c, 10)]);
  assertEquals(unread.map((each) => each.map(({ peer }) => peer)), [[a], [a]]);
});

costTest("a thousand cursors take two round trips and nine statements", async (store, measure) => {
  const users = await makeCrowd(store, 1_000);
  const [a] = users as [number];
  await Promise.all(users.map((user) => send(store, a, user, `to ${user}`)));
  const cost = await measure(() => store.advanceCursors(users.map((user) => ({ user, peer: a, seq: 1 }))));
  assertLessOrEqual(cost.roundTrips, 2);
  assertLessOrEqual(cost.statements, 9 + RECHECKS);
  assertEquals((await store.unread(users[1]!, 10)).length, 0);
});

const DIGIT = Array.from({ length: 10 }, (_, n) => `SELECT ${n} AS n`).join(" UNION ALL ");
const PLACES = ["ones", "tens", "hundreds", "thousands", "ten_thousands"];

/** A table of one column, `seq`. MariaDB's engine for sequences is not in MySQL. */
const SEQS_2_TO_100000 = `(SELECT 2 + ${
  PLACES.map((place, at) => `${10 ** at} * ${place}.n`).join(" + ")
} AS seq
  FROM ${PLACES.map((place) => `(${DIGIT}) ${place}`).join(", ")}) seqs WHERE seq <= 100000`;

costTest("reading touches few rows beyond its result, in a log of any length", async (store, _, db) => {
  const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
  const group = await makeGroup(store, "g", [a, b, c]);
  for (const peer of [b, c, -group]) await send(store, a, peer, `first to ${peer}`);
  const fill =
    "INSERT INTO Message (low, high, seq, sender, cid, time, body) SELECT ?, ?, seq, ?, concat(?, seq), seq, repeat('x', 50) FROM " +
    SEQS_2_TO_100000;
  await db.sql(fill, [a, b, a, "pair"]);
  await db.sql(fill, [0, group, a, "group"]);
  await db.sql("UPDATE Conversation SET last_seq = 100000 WHERE high <> ?", [c]);
  await db.sql("ANALYZE TABLE Message, Conversation, MemberCursor");
  const looks: readonly (readonly [string, () => Promise<unknown>])[] = [
    ["unread", () => store.unread(b, 100)],
    ["usersWithUnread", () => store.usersWithUnread([a, b, c])],
    ["read", () => store.read(b, a, 50_000, 20, 1e6)],
    ["read after the cursor", () => store.read(b, -group, undefined, 20, 1e6)],
    ["read at the end", () => store.read(b, -group, 99_999, 20, 1e6)],
    ["history", () => store.history(b, a, undefined, 20, 1e6)],
    ["history before", () => store.history(b, -group, 50_000, 20, 1e6)],
    ["append", () => send(store, a, b, "new")],
    ["append again", () => send(store, a, b, "new")],
  ];
  for (const [what, look] of looks) {
    const before = await status(db, "Handler_read%");
    await look();
    // Including the cost of reading the counters.
    assertLess(await status(db, "Handler_read%") - before, 1_500, what);
  }
});

costTest("the size of a page bounds the fetched bytes, not only the returned ones", async (store, _, db) => {
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const body = "x".repeat(60_000);
  await Promise.all(Array.from({ length: 100 }, (_, i) => send(store, a, b, `${i}`, { body })));
  for (
    const look of [() => store.read(b, a, 0, 256, 65_536), () => store.history(b, a, undefined, 256, 65_536)]
  ) {
    const before = await status(db, "Bytes_sent");
    const page = await look();
    assertEquals(("messages" in page ? page.messages : page as unknown[]).length, 1);
    const sent = await status(db, "Bytes_sent") - before;
    assert(sent > 60_000 && sent < 130_000, `${sent} bytes`);
  }
});

mariadb.test("mysql: caches at most the maximum of conversations, those added last", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
    const session = await MysqlConnection.open(parseAddress(db.url));
    let queries = 0;
    const counted = wrapped(session, (name, go) => {
      if (name === "query") queries++;
      return go();
    });
    const known = new ConversationCache(2);
    /** Returns whether a lookup is needed. */
    const isLookedUp = async (key: ConversationKey) => {
      const before = queries;
      assertEquals(await known.ensure(counted, new Map([[conversationName(key), key]])), new Set());
      return queries > before;
    };
    const [first, second, third]: readonly ConversationKey[] = [[a, b], [a, c], [a, d]];
    assertEquals([await isLookedUp(first!), await isLookedUp(second!)], [true, true]);
    assertEquals([await isLookedUp(first!), await isLookedUp(second!)], [false, false]);
    assertEquals(await isLookedUp(third!), true);
    assertEquals([await isLookedUp(second!), await isLookedUp(third!), await isLookedUp(first!)], [
      false,
      false,
      true,
    ]);
    await session.close();
  });
});
