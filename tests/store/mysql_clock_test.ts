/** The MySQL store on a machine with another clock than the database. */
import { assert, assertEquals } from "@std/assert";
import { MysqlStore } from "../../lib/store/mysql/mysql_store.ts";
import { startMariadb } from "../harness/mariadb.ts";
import { ROOMY } from "./store_fixture.ts";

Deno.test("mysql clock: logs the difference to the database's clock at the start", async () => {
  // Applies to all accounts except those with all rights.
  await using server = await startMariadb({
    args: ["--init-connect=SET timestamp = UNIX_TIMESTAMP() - 7200"],
  });
  await using db = await server.fresh();
  await server.sql("CREATE USER operator");
  await server.sql(`GRANT ALL ON ${db.name}.* TO operator`);
  const differences = async (account: string) => {
    const differencesMs: number[] = [];
    const warn = (event: string, { differenceMs }: Record<string, string | number>) => {
      if (event.includes("clock")) differencesMs.push(Number(differenceMs));
    };
    const log = { info() {}, warn };
    const store = await MysqlStore.open(server.url(db.name, account), ROOMY, { log, maxConnections: 2 });
    await store.close();
    return differencesMs;
  };
  assertEquals(await differences("root"), []);
  const [differenceMs] = await differences("operator");
  assert(differenceMs !== undefined && Math.abs(differenceMs - 7_200_000) < 60_000, `${differenceMs}`);
});
