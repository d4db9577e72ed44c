/**
 * The move of unread messages from a C++ server into the log: none is lost or duplicated, and all are in
 * order.
 */
import { assert, assertEquals } from "@std/assert";
import { createConnection } from "mysql2/promise";
import { insertRows } from "../../lib/store/mysql/schema/insert.ts";
import { migrate } from "../../lib/store/mysql/schema/migrate.ts";
import { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { sharedMariadb, type TestDatabase } from "../harness/mariadb.ts";
import { CLASSIC, connectionTo, groupChat, missed, oneChat, RecordedLog, run } from "./mysql_databases.ts";
import { PLENTY, ROOMY } from "./store_fixture.ts";

const shared = sharedMariadb();

/** The time of the first message, in milliseconds since 1970. */
const NOON = new Date(2024, 1, 29, 12).getTime();

/** Inserts rows into a table of a C++ server. */
async function fill(
  db: TestDatabase,
  into: string,
  rows: readonly (readonly (number | string)[])[],
): Promise<void> {
  const connection = await createConnection(connectionTo(db));
  try {
    await connection.query("START TRANSACTION");
    await insertRows(connection, into, rows);
    await connection.query("COMMIT");
  } finally {
    await connection.end();
  }
}

shared.test("mysql offline: leaves skipped rows unchanged, and shows all others in the view", async (db) => {
  await run(db, "SET NAMES utf8mb4", ...CLASSIC);
  await fill(db, "user (name, password)", [["u1", "x"], ["u2", "x"]]);
  const odd = [[2, "?"], [2, `{"id":1,"msg":"cut o`], [2, "?"], [77, oneChat(1, 77, "a")]] as const;
  const good = Array.from({ length: 3_000 }, (_, i) => [2, oneChat(1, 2, `m${i}`)] as const);
  await fill(db, "offlinemessage", [...good.slice(0, 1_000), ...odd, ...good.slice(1_000)]);
  const log = new RecordedLog();
  await migrate(connectionTo(db), log);
  assertEquals(log.warnings, [{ count: 4, reasons: "not JSON (3), recipient unknown (1)" }]);
  const left = await db.sql("SELECT * FROM OldOfflineMessage");
  assertEquals(left.map(({ userid, message }) => [userid, message]), odd.map((row) => [...row]));
  const view = await db.sql("SELECT userid, CAST(message AS CHAR) AS message FROM OfflineMessage");
  assertEquals(
    view.map(({ message }) => JSON.parse(message as string).msg),
    good.map(([, message]) => JSON.parse(message).msg),
  );
  assertEquals(JSON.parse(view[0]!.message as string), JSON.parse(good[0]![1]));
});

const USERS = 10_000;
const GROUPS = 200;
const GROUP_SIZE = 40;
const ROWS = 50_000;

/** One of this many users is checked through the store, and the others by SQL only, which is faster. */
const SAMPLED = 25;

/** Milliseconds for the whole move on a slow and busy machine: ten times the duration on a quiet one. */
const MAX_MOVE_MS = 60_000;

shared.test(`mysql offline: ${USERS} users get their messages of ${ROWS} rows, in order`, async (db) => {
  await run(db, ...CLASSIC);
  const users = Array.from({ length: USERS }, (_, i) => i + 1);
  const members = Array.from(
    { length: GROUPS },
    (_, group) => Array.from({ length: GROUP_SIZE }, (_, i) => (group * 47 + i * 13) % USERS + 1),
  );
  await fill(db, "user (name, password)", users.map((id) => [`u${id}`, `pw${id}`]));
  await fill(db, "allgroup (groupname)", members.map((_, group) => [`g${group + 1}`]));
  await fill(
    db,
    "groupuser (groupid, userid, grouprole)",
    members.flatMap((ids, group) => ids.map((id, i) => [group + 1, id, i === 0 ? "creator" : "normal"])),
  );
  const rows = history(members);
  await fill(db, "offlinemessage", rows);

  const started = performance.now();
  const log = new RecordedLog();
  await migrate(connectionTo(db), log);
  const took = performance.now() - started;
  assert(took < MAX_MOVE_MS, `took ${took} ms`);
  assertEquals(log.warnings, []);

  const expected = new Map<string, string[]>();
  for (const [user, message] of rows) add(expected, user, message);
  const actual = new Map<string, string[]>();
  for (const [user, messages] of await missed(db)) {
    for (const { low, high, sender, body } of messages) {
      add(actual, user, low === 0 ? groupChat(sender, high, body) : oneChat(sender, user, body));
    }
  }
  assertEquals(actual.size, expected.size);
  for (const [key, texts] of expected) assertEquals(actual.get(key), texts, key);
  await assertReadable(db, expected);
  assertEquals(await db.sql("SELECT COUNT(*) AS n FROM GroupUser"), [{ n: GROUPS * GROUP_SIZE }]);
  assertEquals(await db.sql("SELECT COUNT(*) AS n FROM User WHERE password = CONCAT('$plain$pw', id)"), [{
    n: USERS,
  }]);
  assertEquals(
    await db.sql(
      "SELECT COUNT(*) AS n FROM Conversation WHERE last_seq <> " +
        "(SELECT COUNT(*) FROM Message WHERE Message.low = Conversation.low AND Message.high = Conversation.high)",
    ),
    [{ n: 0 }],
  );
  assertEquals(await db.sql("SHOW TABLES LIKE 'OldOfflineMessage'"), []);
});

/** Asserts that the store returns the unread messages of some users, and nothing else. */
async function assertReadable(
  db: TestDatabase,
  expected: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
  const store = await MysqlStore.open(db.url, ROOMY, { log: new RecordedLog(), maxConnections: 4 });
  try {
    for (let user = 1; user <= USERS; user += SAMPLED) {
      const actual = new Map<string, string[]>();
      for (const { peer } of await store.unread(user, USERS)) {
        const { messages: messages } = await store.read(user, peer, undefined, ROWS, PLENTY);
        for (const { sender, body } of messages) {
          add(actual, user, peer < 0 ? groupChat(sender, -peer, body) : oneChat(sender, user, body));
        }
      }
      const wanted = [...expected].filter(([key]) => key.startsWith(`${user} `));
      assertEquals(Object.fromEntries(actual), Object.fromEntries(wanted));
    }
  } finally {
    await store.close();
  }
}

/** Returns the rows of a server whose users log out one by one while the others write to them. */
function history(members: readonly (readonly number[])[]): [userid: number, message: string][] {
  const rows: [number, string][] = [];
  for (let event = 0; rows.length < ROWS; event++) {
    const away = 1 + Math.floor(rows.length / ROWS * USERS * 0.9); // users up to this one are offline
    const time = new Date(NOON + event * 300); // several per second
    const written = `2024-02-29 ${time.toTimeString().slice(0, 8)}`;
    if (event % 5 === 0) {
      const group = event * 31 % GROUPS;
      const sender = members[group]!.findLast((id) => id > away);
      if (sender === undefined) continue;
      const text = groupChat(sender, group + 1, event % 3 === 0 ? "ok" : `m${event}`, written);
      for (const id of members[group]!) if (id <= away) rows.push([id, text]);
    } else {
      const recipient = event * 7 % away + 1;
      rows.push([
        recipient,
        oneChat(away + 1 + event % 9, recipient, event % 3 === 0 ? "ok" : `m${event}`, written),
      ]);
    }
  }
  return rows;
}

/** Adds a message to a user's conversation, without its time. */
function add(conversations: Map<string, string[]>, user: number, message: string): void {
  const { id, groupid, msg } = JSON.parse(message) as { id: number; groupid?: number; msg: string };
  const key = groupid === undefined ? `${user} with ${id}` : `${user} in ${groupid}`;
  conversations.set(key, [...conversations.get(key) ?? [], `${id}: ${msg}`]);
}
