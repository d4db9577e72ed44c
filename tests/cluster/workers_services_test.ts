/** Several workers in one process on MySQL, each with connections of its own. */
import { assertEquals } from "@std/assert";
import { Msg } from "../harness/protocol_numbers.ts";
import { login, newGroup } from "../harness/framed_client.ts";
import { sharedMariadb } from "../harness/mariadb.ts";
import { startRedis } from "../harness/redis.ts";
import { type Server, withServer } from "../harness/server.ts";
import { enterOn, oneEach, WORKERS } from "../harness/workers.ts";

const { test } = sharedMariadb();

/** The permissions in deno.json must suffice for workers, too. */
const permissions = ["--no-prompt", "-P=server"];

/** A short drain: clients are served for a tenth of this time after their reconnect time. */
const SHORT_DRAIN = ["--drain-timeout", "2s"];

/** Asserts that users on different workers see each other's messages and presence. */
async function meet(server: Server): Promise<void> {
  const [alice, bob] = await oneEach(server);
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: bob.id });
  const groupid = await newGroup(alice, [bob]);
  for (const seq of [1, 2, 3]) {
    assertEquals((await alice.chat(bob.id, `${seq}`)).seq, seq);
    assertEquals((await bob.next(Msg.ONE_CHAT)).msg, `${seq}`);
    await bob.groupChat(groupid, `${seq}`);
    assertEquals((await alice.next(Msg.GROUP_CHAT)).msg, `${seq}`);
  }
  await bob.close();
  await alice.next((m) => m.msgid === Msg.PRESENCE && m.state === "offline");
  const again = await enterOn(server, 2, () => login(server, { id: bob.id }));
  await alice.next((m) => m.msgid === Msg.PRESENCE && m.state === "online");
  server.kill("SIGTERM");
  for (const client of [alice, again]) {
    await client.serverCloses();
    await client.close();
  }
  assertEquals(await server.wait(), 0);
}

test("workers on MySQL: exchange messages inside the process without Redis", (db) =>
  withServer({ permissions, args: [...WORKERS, ...SHORT_DRAIN, "--mysql", db.url] }, meet));

test("workers on MySQL and Redis: exchange messages as nodes do", async (db) => {
  await using redis = await startRedis();
  const args = [...WORKERS, ...SHORT_DRAIN, "--mysql", db.url, "--redis", redis.url];
  await withServer({ permissions, args }, meet);
});
