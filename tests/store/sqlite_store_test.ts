/** Tests of the embedded store: the contract, the view of operators, and batches of calls. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { fileTest, sql } from "./sqlite_fixture.ts";
import { storeContract } from "./store_contract.ts";
import {
  granted,
  idOf,
  makeGroup,
  makeUsers,
  NOON,
  PLENTY,
  ROOMY,
  send,
  seqs,
  UNKNOWN_ID,
} from "./store_fixture.ts";

storeContract("sqlite", async (limits) => {
  const directory = await Deno.makeTempDir();
  let store = await SqliteStore.open(`${directory}/chat.db`, limits);
  return {
    store,
    reopen: async () => {
      await store.close();
      return store = await SqliteStore.open(`${directory}/chat.db`, limits);
    },
    sql: (statement) => {
      const db = new DatabaseSync(`${directory}/chat.db`);
      try {
        db.exec(statement);
        // The newest messages are in the table RecentMessage.
        if (statement.includes(" Message ")) db.exec(statement.replace(" Message ", " RecentMessage "));
      } finally {
        db.close();
      }
      return Promise.resolve();
    },
    discard: async () => {
      await store.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
});

fileTest("shows current states to operators while the server runs, also after a crash", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a] = await makeUsers(store, 2) as [number];
  const login = await store.claimAccount(a);
  const states = "SELECT name, state FROM User ORDER BY id";
  const expected = [{ name: "u1", state: "online" }, { name: "u2", state: "offline" }];
  assertEquals(sql(file, states), expected);
  await store.close();
  const again = await SqliteStore.open(file, ROOMY);
  assertEquals(sql(file, states), expected);
  assertEquals(await again.onlineLogins(0, 10), [{ user: a, loginEpoch: login }]);
  await again.close();
});

fileTest("has a row in OfflineMessage for each unacknowledged message of a user", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const group = await makeGroup(store, "g", [a, b]);
  const say = { time: NOON + 5_678, body: 'a "quoted"\u0000 😀' };
  await send(store, a, b, "1", say);
  await send(store, a, b, "2", say);
  await send(store, b, a, "1", say);
  await send(store, a, -group, "3", say);
  await store.advanceCursors([{ user: b, peer: a, seq: 1 }]);
  const rows = sql(file, "SELECT userid, message FROM OfflineMessage ORDER BY userid, message");
  const message = { id: a, name: "u1", msg: say.body, time: "2024-02-29 12:00:05" };
  assertEquals(rows.map(({ userid, message }) => [userid, JSON.parse(message as string)]), [
    [a, { ...message, msgid: 6, id: b, name: "u2", toid: a }],
    [b, { ...message, msgid: 10, groupid: group }],
    [b, { ...message, msgid: 6, toid: b }],
  ]);
  await store.close();
});

fileTest("rejects a failing call only, and commits the rest of its batch", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a, b, c] = await makeUsers(store, 3) as [number, number, number];
  const results = await Promise.allSettled([
    send(store, a, b, "1"),
    send(store, a, c, "2", { time: NaN }), // the schema rejects it after the conversation is created
    send(store, a, c, "3"),
    send(store, a, b, "4", { time: NaN }),
    send(store, b, a, "5"),
    store.findUser({ id: c }),
  ]);
  assertEquals(results.map(({ status }) => status), [
    "fulfilled",
    "rejected",
    "fulfilled",
    "rejected",
    "fulfilled",
    "fulfilled",
  ]);
  const { reason } = results[1] as PromiseRejectedResult;
  assert(reason instanceof StoreUnavailableError && reason.cause instanceof Error);
  assertEquals(seqs(await store.read(a, b, 0, 10, PLENTY)), [1, 2]);
  assertEquals(seqs(await store.read(a, c, 0, 10, PLENTY)), [1]);
  assertEquals(granted(await send(store, c, a, "6")).seq, 2);
  await store.close();
});

fileTest("undoes a call that fails half-way", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a] = await makeUsers(store, 1) as [number];
  sql(
    file,
    `CREATE TRIGGER Half BEFORE INSERT ON GroupUser BEGIN SELECT RAISE(ABORT, 'not now'); END`,
    "SELECT 1",
  );
  await assertRejects(() => store.createGroup(a, "team", ""), StoreUnavailableError, "not now");
  assertEquals(sql(file, "DROP TRIGGER Half", "SELECT * FROM AllGroup"), []);
  granted(await store.createGroup(a, "team", ""));
  await store.close();
});

fileTest(
  "rejects the whole batch when SQLite rolls it back, and continues with the next one",
  async (file) => {
    const store = await SqliteStore.open(file, ROOMY);
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, b, "1");
    // SQLite rolls the whole transaction back like this when the disk is full.
    sql(
      file,
      `CREATE TRIGGER Full BEFORE INSERT ON RecentMessage WHEN NEW.cid = 'bad'
     BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END`,
      "SELECT 1",
    );
    const results = await Promise.allSettled([
      send(store, a, b, "2"),
      store.setPassword(a, "lost", "hash 1"),
      send(store, a, b, "bad"),
      send(store, a, b, "3"),
      store.findUser({ id: a }),
    ]);
    for (const result of results.slice(0, 4)) {
      assert(result.status === "rejected" && result.reason instanceof StoreUnavailableError);
      assertStringIncludes(result.reason.message, "the disk is full");
    }
    const expected = { id: a, name: "u1", password: "hash 1", online: false };
    assertEquals(results[4], { status: "fulfilled", value: expected });
    sql(file, "DROP TRIGGER Full", "SELECT 1");
    assertEquals(await send(store, a, b, "3"), { seq: 2, time: NOON, duplicate: false });
    assertEquals(seqs(await store.read(b, a, 0, 10, PLENTY)), [1, 2]);
    await store.close();
  },
);

fileTest("rejects changes and answers reads while another program writes for too long", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const writer = new DatabaseSync(file);
  writer.exec("BEGIN IMMEDIATE");
  const [sent, found] = await Promise.allSettled([send(store, a, b, "1"), store.findUser({ id: b })]);
  assert(sent.status === "rejected" && sent.reason instanceof StoreUnavailableError);
  assertEquals(found.status, "fulfilled");
  writer.close();
  assertEquals(await send(store, a, b, "1"), { seq: 1, time: NOON, duplicate: false });
  await store.close();
});

fileTest("runs more calls than a batch holds, in order", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a, b] = await makeUsers(store, 2) as [number, number];
  const sent = Array.from({ length: 10_000 }, (_, i) => send(store, a, b, `${i}`));
  const found = Array.from({ length: 1_000 }, () => store.findUser({ id: b }));
  assertEquals((await Promise.all(sent)).map((result) => granted(result).seq), sent.map((_, i) => i + 1));
  assert((await Promise.all(found)).every((user) => user?.name === "u2"));
  await store.close();
});

fileTest(
  "rejects further calls when the queue is full, and runs the others",
  async (file) => {
    const store = await SqliteStore.open(file, ROOMY);
    const calls = Array.from({ length: 100_001 }, () => store.claimAccount(UNKNOWN_ID));
    const last = calls.pop()!;
    await assertRejects(() => last, StoreUnavailableError, "waiting");
    await Promise.all(calls);
    await store.claimAccount(UNKNOWN_ID);
    await store.close();
  },
);

fileTest("counts a group's members correctly after an operator's changes", async (file) => {
  const store = await SqliteStore.open(file, { ...ROOMY, membersPerGroup: 3 });
  const [a, b, c, d] = await makeUsers(store, 4) as [number, number, number, number];
  const group = await makeGroup(store, "g", [a, b]);
  const other = await makeGroup(store, "h", [a]);
  const counts = async () => (await store.contacts(a, 50)).groups.map(({ members }) => members);
  assertEquals(await counts(), [2, 1]);
  sql(
    file,
    `INSERT INTO GroupUser VALUES (${group}, ${c}, 'normal')`,
    `INSERT OR IGNORE INTO GroupUser VALUES (${group}, ${c}, 'normal'), (${other}, ${c}, 'normal')`,
    "SELECT 1",
  );
  assertEquals(await counts(), [3, 2]);
  assertEquals(await store.joinGroup(d, group), { refused: "full" });
  sql(file, `DELETE FROM GroupUser WHERE userid IN (${b}, ${c})`, "SELECT 1");
  assertEquals(await counts(), [1, 1]);
  assertEquals(await store.joinGroup(d, group), { name: "g" });
  assertEquals(await counts(), [2, 1]);
  await store.close();
});

fileTest("commits before all earlier reads are done", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const [a, ...others] = await Promise.all(
    Array.from({ length: 2_001 }, async (_, i) => idOf(await store.createUser(`u${i}`, "hash"))),
  ) as [number, ...number[]];
  await Promise.all(others.map((other) => send(store, other, a, "1")));
  // Each reads thousands of rows, so that all together take many times the read budget of a batch.
  const finished: number[] = [];
  const reads = Array.from({ length: 250 }, (_, i) => store.unread(a, 1).then(() => finished.push(i)));
  await reads[0];
  await store.claimAccount(a);
  assert(finished.length < reads.length, "a commit waited for all reads");
  await Promise.all(reads);
  assertEquals(finished, reads.map((_, i) => i));
  await store.close();
});
