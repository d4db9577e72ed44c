/** Helpers for tests of the MySQL store. */
import { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import type { StoreLimits } from "../../lib/store/store.ts";
import type { TestDatabase } from "../harness/mariadb.ts";
import { ROOMY } from "./store_fixture.ts";

/** Connections of a store in a test: one writer, and few enough others that calls wait for them. */
const CONNECTIONS = 4;

/** Opens a store on a database. */
export function openMysql(url: string, limits: StoreLimits = ROOMY): Promise<MysqlStore> {
  return MysqlStore.open(url, limits, { log: { info() {}, warn() {} }, maxConnections: CONNECTIONS });
}

/** Runs `body` with several stores on one database, one per node, and closes them. */
export async function withStores(
  count: number,
  db: TestDatabase,
  body: (...stores: MysqlStore[]) => Promise<void>,
  limits: Partial<StoreLimits> = {},
): Promise<void> {
  const stores: MysqlStore[] = [];
  try {
    for (let i = 0; i < count; i++) stores.push(await openMysql(db.url, { ...ROOMY, ...limits }));
    await body(...stores);
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}
