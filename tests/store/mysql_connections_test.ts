/** The connections of the MySQL store when the server allows few of them or becomes read-only. */
import { assertEquals, assertRejects } from "@std/assert";
import { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { idOf, makeUsers, NOON, ROOMY, send } from "./store_fixture.ts";

const mariadb = sharedMariadb();
const QUIET = { info() {}, warn() {} };

mariadb.test("mysql connections: uses fewer connections when the server allows no more", async (db) => {
  await db.server.sql("CREATE USER few WITH MAX_USER_CONNECTIONS 3");
  await db.server.sql(`GRANT ALL ON ${db.name}.* TO few`);
  const store = await MysqlStore.open(db.server.url(db.name, "few"), ROOMY, {
    log: QUIET,
    maxConnections: 10,
  });
  try {
    const made = await Promise.all(Array.from({ length: 60 }, (_, i) => store.createUser(`u${i}`, "hash")));
    assertEquals(new Set(made.map(idOf)).size, 60);
  } finally {
    await store.close();
  }
});

mariadb.test("mysql connections: replaces connections to a server that became read-only", async (db) => {
  await db.server.sql("CREATE USER ordinary");
  await db.server.sql(`GRANT ALL ON ${db.name}.* TO ordinary`);
  const store = await MysqlStore.open(db.server.url(db.name, "ordinary"), ROOMY, {
    log: QUIET,
    maxConnections: 2,
  });
  const connections = async () => {
    const rows = await db.sql("SELECT id FROM information_schema.processlist WHERE user = 'ordinary'");
    return rows.map(({ id }) => Number(id));
  };
  try {
    const [a, b] = await makeUsers(store, 2) as [number, number];
    await send(store, a, b, "1");
    const before = await connections();
    await db.server.sql("SET GLOBAL read_only = 1");
    await assertRejects(() => send(store, a, b, "2"), StoreUnavailableError);
    await assertRejects(() => store.createUser("late", "hash"), StoreUnavailableError);
    await db.server.sql("SET GLOBAL read_only = 0");
    assertEquals(await send(store, a, b, "2"), { seq: 2, time: NOON, duplicate: false });
    await store.createUser("late", "hash");
    assertEquals((await connections()).filter((id) => before.includes(id)), []);
  } finally {
    await db.server.sql("SET GLOBAL read_only = 0");
    await store.close();
  }
});
