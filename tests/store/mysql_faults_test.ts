/**
 * The MySQL store during faults of the database and the network: no acknowledged message is lost, and none is
 * duplicated.
 */
import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import type { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { sharedMariadb, startMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { type Fate, Relay } from "../harness/relay.ts";
import { pause, until } from "../harness/wait.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { granted, makeCrowd, makeGroup, makeUsers, NOON, PLENTY, send, whole } from "./store_fixture.ts";

const COUNT_DEADLOCKS =
  "SELECT count AS deadlocks FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'";

const mariadb = sharedMariadb();

/** Registers a test of a store that reaches its database through a relay. */
function relayTest(
  name: string,
  body: (store: MysqlStore, relay: Relay, db: TestDatabase) => Promise<void>,
): void {
  mariadb.test(`mysql: ${name}`, async (db) => {
    await using relay = new Relay(db.server);
    const store = await openMysql(`mysql://root@${relay.host}:${relay.port}/${db.name}`);
    try {
      await body(store, relay, db);
    } finally {
      await store.close();
    }
  });
}

/**
 * Makes a relay apply `fate` to the next request that contains `words`, after `after` other such requests.
 */
function meddle(relay: Relay, words: string, fate: Fate, after = 0): { readonly done: boolean } {
  let seen = 0;
  relay.decide = (piece) => piece.includes(words) && seen++ === after ? fate : "pass";
  return {
    get done() {
      return seen > after;
    },
  };
}

const COMMITTING = "INSERT INTO Message";

relayTest(
  "I5 finds a commit whose reply is lost, and reports its messages as new",
  async (store, relay, db) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, b, "old");
    const meddled = meddle(relay, COMMITTING, "cut its answer");
    const sent = await Promise.all(["1", "2", "1"].map((cid) => send(store, a, b, cid, { time: NOON + 1 })));
    assert(meddled.done);
    assertEquals(sent, [
      { seq: 2, time: NOON + 1, duplicate: false },
      { seq: 3, time: NOON + 1, duplicate: false },
      { seq: 2, time: NOON + 1, duplicate: true },
    ]);
    // The first attempt finds an older one, and the second one is lost.
    const again = meddle(relay, COMMITTING, "cut its answer", 1);
    const mixed = await Promise.all(
      ["old", "3", "2"].map((cid) => send(store, a, b, cid, { time: NOON + 2 })),
    );
    assert(again.done);
    assertEquals(mixed, [
      { seq: 1, time: NOON, duplicate: true },
      { seq: 4, time: NOON + 2, duplicate: false },
      { seq: 3, time: NOON + 1, duplicate: true },
    ]);
    assertEquals((await whole(store, a, b)).map(({ cid }) => cid), ["old", "1", "2", "3"]);
    assertEquals(await db.sql("SELECT last_seq FROM Conversation"), [{ last_seq: 4 }]);
  },
);

relayTest("I5 repeats a commit that never reached the server", async (store, relay) => {
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const meddled = meddle(relay, COMMITTING, "cut");
  assertEquals(await send(store, a, b, "1"), { seq: 1, time: NOON, duplicate: false });
  assert(meddled.done);
  assertEquals((await whole(store, a, b)).length, 1);
});

relayTest(
  "I5 reports a commit that fails twice as unavailable, and the client's retry finds the messages",
  async (store, relay) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, b, "0");
    const judges: (Fate | undefined)[] = ["cut its answer", "cut"];
    relay.decide = (piece) =>
      piece.includes("FOR UPDATE") || piece.includes(COMMITTING) ? judges.shift() ?? "pass" : "pass";
    // The only request of the first attempt, and the locks of the second attempt.
    const error = await assertRejects(() => send(store, a, b, "1"), StoreUnavailableError);
    assert(error.cause instanceof Error, "with what it was");
    assertEquals(judges.length, 0);
    assertEquals(await send(store, a, b, "1"), { seq: 2, time: NOON, duplicate: true });
  },
);

relayTest("does not retry changes that are not idempotent", async (store, relay, db) => {
  meddle(relay, "RELEASE SAVEPOINT", "cut its answer"); // and the commit
  await assertRejects(() => store.createUser("ann", "hash"), StoreUnavailableError);
  assertEquals(await store.createUser("ann", "hash"), { refused: "name_in_use" });
  const { id } = (await store.findUser({ name: "ann" }))!;
  meddle(relay, "RELEASE SAVEPOINT", "cut its answer");
  await assertRejects(() => store.createGroup(id, "team", ""), StoreUnavailableError);
  assertEquals(await store.createGroup(id, "team", ""), { refused: "name_in_use" });
  assertEquals(await db.sql("SELECT count(*) AS count FROM AllGroup"), [{ count: 1 }]);
});

relayTest("repeats a read on another connection when the first one is lost", async (store, relay) => {
  const [a] = await makeUsers(store, 1) as [number];
  meddle(relay, "SELECT id, name", "cut its answer");
  assertEquals((await store.findUser({ id: a }))?.name, "u1");
  relay.decide = (piece) => piece.includes("SELECT id, name") ? "cut" : "pass";
  await assertRejects(() => store.findUser({ id: a }), StoreUnavailableError);
});

relayTest(
  "changes wait for the locks of another transaction, and are retried after the lock timeout",
  async (store, relay, db) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    const attempts = { logins: 0, "SELECT 1 FROM User": 0 };
    relay.decide = (piece) => {
      for (const kind of ["logins", "SELECT 1 FROM User"] as const) {
        if (piece.includes(kind) && piece.includes("FOR UPDATE")) attempts[kind]++;
      }
      return "pass";
    };
    await using operator = await db.transaction();
    await operator.sql("SELECT * FROM User FOR UPDATE");
    const changes = Promise.all([store.claimAccount(a), store.addFriend(b, a)]);
    await until(() => Object.values(attempts).every((count) => count > 1), "second attempts");
    await operator.sql("COMMIT");
    assertEquals(await changes, [1, { name: "u1" }]);
  },
);

relayTest(
  "a locked conversation blocks no other: its messages are rejected until the lock is free",
  async (store, _, db) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    await Promise.all([send(store, a, b, "1"), send(store, a, c, "1 to c")]);
    await using operator = await db.transaction();
    await operator.sql("SELECT * FROM Conversation WHERE low = ? AND high = ? FOR UPDATE", [a, b]);
    const [locked, other] = await Promise.allSettled([send(store, a, b, "2"), send(store, a, c, "2 to c")]);
    assertEquals(other, { status: "fulfilled", value: { seq: 2, time: NOON, duplicate: false } });
    assert(locked.status === "rejected" && locked.reason instanceof StoreUnavailableError);
    await operator.sql("COMMIT");
    assertEquals(await send(store, a, b, "2"), { seq: 2, time: NOON, duplicate: false });
  },
);

mariadb.test("mysql: retries a batch after a deadlock", async (db) => {
  await withStores(1, db, async (store) => {
    const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
    await Promise.all([send(store, a, b, "to b"), send(store, a, c, "to c")]);
    const deadlocks = async () => Number((await db.sql(COUNT_DEADLOCKS))[0]!.deadlocks);
    const before = await deadlocks();
    await using operator = await db.transaction();
    // The operator has changed more rows than the batch, so that the batch is the victim.
    await operator.sql("UPDATE User SET password = 'x'");
    await operator.sql("SELECT * FROM Conversation WHERE low = ? AND high = ? FOR UPDATE", [a, c]);
    const sent = Promise.all([send(store, a, b, "again to b"), send(store, a, c, "again to c")]);
    const waiting = await until(async () => {
      const trx =
        "SELECT trx_isolation_level AS level FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'";
      return (await db.sql(trx))[0];
    }, "the batch, waiting");
    assertEquals(waiting.level, "READ COMMITTED", "it locks no gaps");
    await operator.sql("SELECT * FROM Conversation WHERE low = ? AND high = ? FOR UPDATE", [a, b]);
    await operator.sql("COMMIT");
    assertEquals((await sent).map((answer) => granted(answer).seq), [2, 2]);
    assertLess(before, await deadlocks());
  });
});

mariadb.test("mysql: retries after an operator's KILL of any connection", async (db) => {
  await withStores(1, db, async (store) => {
    const users = await makeCrowd(store, 10);
    const group = await makeGroup(store, "g", users);
    let killing = true;
    let killed = 0;
    const killer = (async () => {
      while (killing) {
        const rows = await db.sql(
          "SELECT id FROM information_schema.PROCESSLIST WHERE db = ? AND id <> connection_id()",
          [db.name],
        );
        for (const { id } of rows) {
          await db.sql(`KILL ${id}`).then(() => killed++, () => {}); // it may have ended by itself
        }
        await pause(20);
      }
    })();
    let [count, unavailable] = [0, 0];
    for (let wave = 0; wave < 40 || killed < 20; wave++) {
      await Promise.all(users.map(async (user, i) => {
        for (;;) {
          const cid = `${wave}.${i}`;
          try {
            const { seq } = granted(await send(store, user, -group, cid));
            assert(seq > 0);
            count++;
            return;
          } catch (error) {
            if (!(error instanceof StoreUnavailableError)) throw error;
            unavailable++; // killed twice
          }
        }
      }));
      await store.findUser({ id: users[0]! }).catch(() => {});
    }
    killing = false;
    await killer;
    const log = await whole(store, users[0]!, -group);
    assertEquals(log.map(({ seq }) => seq), log.map((_, i) => i + 1));
    assertEquals(log.length, count);
    assertEquals(new Set(log.map(({ sender, cid }) => `${sender} ${cid}`)).size, count);
    assertLess(unavailable, count);
  });
});

Deno.test("mysql: I1 has all acknowledged messages after the server's kill -9", async () => {
  await using server = await startMariadb();
  await using db = await server.fresh();
  await withStores(2, db, async (...nodes) => {
    const users = await makeCrowd(nodes[0]!, 8);
    const group = await makeGroup(nodes[0]!, "g", users);
    const acked = new Map<string, number>();
    let sending = true;
    let failures = 0;
    const senders = users.map(async (user, i) => {
      for (let n = 0; sending; n++) {
        const peer = n % 2 ? -group : users[(i + 1) % users.length]!;
        for (let done = false; !done;) {
          try {
            acked.set(`${user} ${n}`, granted(await send(nodes[i % 2]!, user, peer, `${n}`)).seq);
            done = true;
          } catch (error) {
            if (!(error instanceof StoreUnavailableError)) throw error;
            failures++;
            await pause(5);
          }
        }
      }
    });
    for (let kill = 1; kill <= 2; kill++) {
      const before = acked.size;
      await until(() => acked.size > before + 400, "messages in flight");
      server.kill("SIGKILL");
      await server.wait();
      const failed = failures;
      await until(() => failures > failed, "a rejected message");
      await server.start();
    }
    const before = acked.size;
    await until(() => acked.size > before + 100, "messages, accepted by themselves again");
    sending = false;
    await Promise.all(senders);
    await nodes[0]!.close();
    const there = new Map<string, number>();
    for (const [i, user] of users.entries()) {
      const messages = await nodes[1]!.read(user, users[(i + 1) % users.length]!, 0, 1e6, 100 * PLENTY);
      assertEquals(messages.messages.map(({ seq }) => seq), messages.messages.map((_, k) => k + 1));
      for (const { sender, cid, seq } of messages.messages) there.set(`${sender} ${cid}`, seq);
    }
    const log = await whole(nodes[1]!, users[0]!, -group);
    assertEquals(log.map(({ seq }) => seq), log.map((_, i) => i + 1));
    for (const { sender, cid, seq } of log) there.set(`${sender} ${cid}`, seq);
    for (const [id, seq] of acked) assertEquals(there.get(id), seq, id);
    assertEquals(there.size, acked.size);
  });
});

Deno.test("mysql: rejects calls while the server hangs, and continues afterwards", async () => {
  await using server = await startMariadb();
  await using db = await server.fresh();
  await withStores(1, db, async (store) => {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await Promise.all([send(store, a, b, "1"), store.findUser({ id: a })]);
    const connections = async () =>
      (await db.sql("SELECT id FROM information_schema.PROCESSLIST WHERE db = ?", [db.name])).map(({ id }) =>
        id
      );
    const before = await connections();
    server.kill("SIGSTOP");
    try {
      const begun = performance.now();
      const calls = [
        ...Array.from({ length: 3_000 }, (_, i) => () => send(store, a, b, `hung ${i}`)),
        ...Array.from({ length: 100 }, () => () => store.findUser({ id: a })),
        () => store.claimAccount(a),
        () => store.createUser("ann", "hash"),
        () => store.joinGroup(a, 1),
        () => store.advanceCursors([{ user: b, peer: a, seq: 1 }]),
      ];
      await Promise.all(calls.map((call) => assertRejects(call, StoreUnavailableError)));
      assertLess(performance.now() - begun, 25_000);
    } finally {
      server.kill("SIGCONT");
    }
    const { seq } = granted(await send(store, a, b, "2"));
    await until(async () => {
      const now = await connections();
      return before.every((id) => !now.includes(id));
    }, "the end of all connections that were given up");
    const log = await whole(store, a, b);
    assertEquals(log.map(({ seq }) => seq), log.map((_, i) => i + 1));
    assertEquals(log[seq - 1]!.cid, "2");
  });
});
