/** The key of a deployment: created once, whichever release created the database. */
import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { renewEpochAt } from "../../lib/store/mysql/renew_epoch.ts";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { openMysql, withStores } from "./mysql_fixture.ts";
import { ROOMY } from "./store_fixture.ts";

const KEY = /^[0-9a-f]{64}$/;
const mariadb = sharedMariadb();

Deno.test("cluster key: a file retains its key, and a file of an older release gets one", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const keyOf = async (file: string) => {
      const store = await SqliteStore.open(`${folder}/${file}`, ROOMY);
      try {
        return await store.clusterKey();
      } finally {
        await store.close();
      }
    };
    const key = await keyOf("one.db");
    assertMatch(key, KEY);
    assertEquals(await keyOf("one.db"), key);
    assertNotEquals(await keyOf("two.db"), key);
    const db = new DatabaseSync(`${folder}/one.db`);
    const version = db.prepare("PRAGMA user_version").get();
    db.exec("DROP TABLE ClusterKey");
    db.close();
    const next = await keyOf("one.db");
    assertMatch(next, KEY);
    assertNotEquals(next, key);
    assertEquals(await keyOf("one.db"), next);
    const again = new DatabaseSync(`${folder}/one.db`);
    assertEquals(again.prepare("PRAGMA user_version").get(), version, "the release before can still use it");
    again.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

mariadb.test("cluster key: is the same for all nodes on one MySQL", async (db) => {
  const stores = await Promise.all([1, 2, 3].map(() => openMysql(db.url)));
  try {
    const keys = new Set(await Promise.all(stores.map((store) => store.clusterKey())));
    assertEquals(keys.size, 1);
    assertMatch([...keys][0]!, KEY);
    await db.sql("DROP TABLE ClusterKey"); // as in a database of a release before keys, whose nodes still run
    const [version] = await db.sql("SELECT version FROM SchemaVersion");
    await withStores(2, db, async (one, two) => {
      const key = await one!.clusterKey();
      assertMatch(key, KEY);
      assertEquals(await two!.clusterKey(), key);
    });
    assertEquals(await db.sql("SELECT version FROM SchemaVersion"), [version]);
    await withStores(1, db, async (store) => {
      const key = await store!.clusterKey();
      await renewEpochAt(db.url, { singleWriter: false }, false);
      assertEquals(await store!.clusterKey(), key);
      await renewEpochAt(db.url, { singleWriter: false }, true); // for a copy of a database
      const renewed = await store!.clusterKey();
      assertMatch(renewed, KEY);
      assertNotEquals(renewed, key);
    });
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
});
