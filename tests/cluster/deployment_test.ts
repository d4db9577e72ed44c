/** A copied database and its original on one Redis, which `renew-epoch --new-deployment` separates. */
import { assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { type Cluster, startCluster } from "../harness/cluster.ts";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { FramedClient, login, PASSWORD } from "../harness/framed_client.ts";
import type { TestDatabase } from "../harness/mariadb.ts";
import { runProgram } from "../harness/program.ts";
import { startServer } from "../harness/server.ts";

/** Copies the database of a cluster with all rows, as a dump does. */
async function copyOf({ mariadb, database }: Cluster): Promise<TestDatabase> {
  const copy = await mariadb.fresh();
  const tables = await database.sql(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = ? AND table_type = 'BASE TABLE'",
    [database.name],
  );
  for (const { name } of tables) {
    await copy.sql(`CREATE TABLE ${name} LIKE ${database.name}.${name}`);
    await copy.sql(`INSERT INTO ${name} SELECT * FROM ${database.name}.${name}`);
  }
  return copy;
}

function renew(url: string) {
  return runProgram("main.ts", ["renew-epoch", "--new-deployment"], { env: { CHAT_MYSQL: url } });
}

Deno.test("deployment: a copied database with an id of its own is apart from the original", async () => {
  await using cluster = await startCluster({ nodes: 1 });
  await using open = new AsyncDisposableStack();
  const [alice] = await cluster.usersApart(open) as [FramedClient];
  const bob = open.use(await FramedClient.connect(cluster.node(0)));
  const bobsId = await bob.register("bob");
  await using copy = await copyOf(cluster);
  const before = await copy.sql("SELECT deployment, epoch FROM StoreIdentity");
  const { code, stdout, stderr } = await renew(copy.url);
  assertEquals([code, stderr], [0, ""]);
  const [after] = await copy.sql("SELECT deployment, epoch FROM StoreIdentity");
  assertNotEquals([before[0]!.deployment, before[0]!.epoch], [after!.deployment, after!.epoch]);
  assertStringIncludes(stdout, `the deployment is ${after!.deployment} and the epoch ${after!.epoch} now`);
  assertEquals(await cluster.database.sql("SELECT deployment, epoch FROM StoreIdentity"), before);

  const args = ["--mysql", copy.url, "--redis", cluster.redis.url];
  await using staging = await startServer({ args });
  // With the original's id, alice's account would be in use here, and `force` would end the session there.
  await using again = await FramedClient.connect(staging);
  const reply = await again.request({ msgid: Msg.LOGIN, id: alice.id, password: PASSWORD });
  assertEquals(reply.errno, Errno.OK);
  assertEquals((await alice.chat(bobsId, "production goes on")).errno, Errno.OK);
  assertEquals(alice.drain(), []);
});

for (const workers of [1, 2]) {
  Deno.test(`deployment: a node stops when its database becomes another's, ${workers} loops`, async () => {
    await using cluster = await startCluster({ nodes: 1, workers });
    await using open = new AsyncDisposableStack();
    const [alice] = await cluster.usersApart(open) as [FramedClient];
    const node = cluster.node(0);
    assertEquals((await renew(cluster.database.url)).code, 0);
    await alice.serverCloses();
    assertEquals(await node.wait(), 1);
    assertStringIncludes(node.log(), "the database belongs to another deployment now: the node stops");
    await node.start();
    open.use(await login(node, { id: alice.id }));
  });
}
