/** The harness does not take another server for its own: a test would write to the data of another one. */
import { assertRejects } from "@std/assert";
import { Mariadb, startMariadb } from "../harness/mariadb.ts";
import { Redis, startRedis } from "../harness/redis.ts";

Deno.test("taken ports: a Redis whose port another one has does not count as started", async () => {
  await using first = await startRedis();
  await using second = await startRedis();
  const late = new Redis(second.folder, first.port);
  await assertRejects(() => late.start(), Error, "ended instead");
});

Deno.test("taken ports: a database server whose port another one has does not count as started", async () => {
  await using first = await startMariadb();
  await using second = await startMariadb();
  await second.stop();
  const late = new Mariadb(second.folder, first.port, {});
  await assertRejects(() => late.start(), Error, "ended instead");
});
