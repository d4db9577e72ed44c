/** Nodes on a database that loses commits, as after the restore of a backup or the promotion of a replica. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { type Cluster, startCluster } from "../harness/cluster.ts";
import { Errno, Msg, type Received } from "../harness/protocol_numbers.ts";
import { FramedClient, login, newUser, PASSWORD } from "../harness/framed_client.ts";
import type { TestDatabase } from "../harness/mariadb.ts";
import { runProgram } from "../harness/program.ts";
import { pause, until } from "../harness/wait.ts";

const TABLES = ["User", "Conversation", "Message", "MemberCursor", "Session"];
const RETRY_MS = 100; // before an unacknowledged message is sent again
const LOGIN_TRIES = 100;

/** Copies the tables for {@link goBack}. */
async function remember({ database }: Cluster): Promise<void> {
  for (const table of TABLES) await database.sql(`CREATE TABLE Old${table} AS SELECT * FROM ${table}`);
}

/** Restores the tables in one transaction. The epoch stays, as on a replica that lacked the last commits. */
async function goBack({ database }: Cluster): Promise<void> {
  const back = TABLES.flatMap((
    table,
  ) => [`DELETE FROM ${table}`, `INSERT INTO ${table} SELECT * FROM Old${table}`]);
  await together(database, back);
}

/** Runs statements in one transaction. */
async function together(database: TestDatabase, statements: readonly string[]): Promise<void> {
  await using transaction = await database.transaction();
  for (const statement of [...statements, "COMMIT"]) await transaction.sql(statement);
}

/** Repeats the login until the old session has ended. */
async function comeBack(cluster: Cluster, at: number, id: number): Promise<FramedClient> {
  for (let tries = 0; tries < LOGIN_TRIES; tries++) {
    const client = await FramedClient.connect(cluster.node(at));
    const reply = await client.request({ msgid: Msg.LOGIN, id, password: PASSWORD, force: true });
    if (reply.errno === Errno.OK) {
      client.id = id;
      client.welcome = reply;
      return client;
    }
    await client.close();
    await pause(RETRY_MS);
  }
  throw new Error(`user ${id} could not log in`);
}

/** Sends messages one after the other, each until it is acknowledged, and returns their texts. */
async function sendAll(cluster: Cluster, from: FramedClient, to: number, texts: readonly string[]) {
  let client = from;
  for (const text of texts) {
    for (let isAcked = false; !isAcked;) {
      try {
        const ack = await client.request({ msgid: Msg.ONE_CHAT, toid: to, msg: text, cid: text });
        isAcked = ack.errno === Errno.OK;
        if (!isAcked) await pause(RETRY_MS);
      } catch { // the server has ended the session
        client = await comeBack(cluster, 0, from.id);
      }
    }
  }
  return client;
}

function texts(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}${i}`);
}

/** Sends bob 5 messages that remain, and then 20 that {@link goBack} removes. */
async function chatAndRemember(cluster: Cluster, alice: FramedClient, bob: FramedClient): Promise<void> {
  await sendAll(cluster, alice, bob.id, texts("kept", 5));
  await bob.take(5, Msg.ONE_CHAT);
  await bob.delivered({ id: alice.id }, 5);
  await cluster.hasAll(bob.id);
  await remember(cluster);
  await sendAll(cluster, alice, bob.id, texts("lost", 20));
  await bob.take(20, Msg.ONE_CHAT);
}

Deno.test("restore: I9 shows messages acknowledged after a restore, and ends sessions", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  await using open = new AsyncDisposableStack();
  const [alice, bob] = await cluster.usersApart(open) as [FramedClient, FramedClient];
  assert(typeof alice.welcome!.epoch === "string" && alice.welcome!.epoch.length > 0);
  assertEquals(alice.welcome!.epoch, bob.welcome!.epoch);
  await chatAndRemember(cluster, alice, bob);
  await bob.delivered({ id: alice.id }, 25);
  await cluster.hasAll(bob.id);
  await goBack(cluster);

  // Alice's node has committed more than the database has, and refuses to go on in this history.
  const after = texts("after", 10);
  open.use(await sendAll(cluster, alice, bob.id, after));
  await bob.serverCloses();
  assertEquals(bob.drain().filter(({ msgid }) => msgid === Msg.NOTICE).map(({ kind }) => kind), ["closing"]);
  const again = open.use(await comeBack(cluster, 1, bob.id));
  assertNotEquals(again.welcome!.epoch, bob.welcome!.epoch);
  const shown: Received[] = await again.take(10, Msg.ONE_CHAT);
  assertEquals(shown.map(({ msg, seq }) => [msg, seq]), after.map((text, i) => [text, 6 + i]));
});

Deno.test("restore: I4 an old cursor does not skip messages in the place of lost ones", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  await using open = new AsyncDisposableStack();
  const [alice, bob] = await cluster.usersApart(open) as [FramedClient, FramedClient];
  await chatAndRemember(cluster, alice, bob);
  await goBack(cluster);
  // Another node of this history commits them with seqs that bob's node has already pushed.
  await together(
    cluster.database,
    [6, 7].flatMap((seq) => [
      `INSERT INTO Message (low, high, seq, sender, cid, time, body)
       VALUES (${Math.min(alice.id, bob.id)}, ${
        Math.max(alice.id, bob.id)
      }, ${seq}, ${alice.id}, 'n${seq}', 1, 'new${seq}')`,
      `UPDATE Conversation SET last_seq = ${seq} WHERE low > 0`,
    ]),
  );
  await bob.delivered({ id: alice.id }, 25);
  await bob.serverCloses();
  const again = open.use(await comeBack(cluster, 1, bob.id));
  assertEquals((await again.take(2, Msg.ONE_CHAT)).map(({ msg }) => msg), ["new6", "new7"]);
});

Deno.test("restore: renew-epoch ends all sessions, and nodes continue in the new epoch", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  await using open = new AsyncDisposableStack();
  const users = await cluster.usersApart(open);
  const { code, stdout, stderr } = await runProgram("main.ts", [
    "renew-epoch",
    "--mysql",
    cluster.database.url,
  ]);
  assertEquals([code, stderr], [0, ""]);
  const [, epoch] = /the epoch is ([0-9a-f]{16}) now/.exec(stdout)!;
  for (const [at, user] of users.entries()) {
    await user.serverCloses();
    const again = open.use(await login(cluster.node(at), { id: user.id }));
    assertEquals(again.welcome!.epoch, epoch);
    assertEquals((await again.chat(users[1 - at]!.id, "on")).errno, Errno.OK);
  }
});

Deno.test("restore: I8 ends a session when its account is deleted, and does not reuse the id", async () => {
  await using cluster = await startCluster({ nodes: 1 });
  await using open = new AsyncDisposableStack();
  const [alice] = await cluster.usersApart(open) as [FramedClient];
  const bob = open.use(await FramedClient.connect(cluster.node(0)));
  const id = await bob.register("bob");
  await alice.succeed({ msgid: Msg.ADD_FRIEND, friendid: id });
  await cluster.database.sql("DELETE FROM User WHERE id = ?", [id]);
  await cluster.database.sql("DELETE FROM User WHERE id = ?", [alice.id]);
  cluster.redis.kill("SIGKILL"); // after an outage nodes compare all sessions with the store at once
  await cluster.redis.start();
  await alice.serverCloses();
  await until(() => cluster.node(0).log().includes("the account of a session is gone"), "a line in the log");

  await cluster.database.sql("ALTER TABLE User AUTO_INCREMENT = 1");
  await cluster.node(0).restart();
  const carol = open.use(await FramedClient.connect(cluster.node(0)));
  assert(await carol.register("carol") > id, "a friend list still names the id");
});

Deno.test("restore: I3 ends a session when its id was reused, and writes nothing for it", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  await using open = new AsyncDisposableStack();
  const [alice] = await cluster.usersApart(open) as [FramedClient];
  await remember(cluster);
  const kim = open.use(await newUser(cluster.node(1)));
  await goBack(cluster);
  await cluster.database.sql(`ALTER TABLE User AUTO_INCREMENT = ${kim.id}`);
  // The other node has never seen kim's id.
  const lou = open.use(await FramedClient.connect(cluster.node(0)));
  assertEquals(await lou.register("lou"), kim.id);
  await kim.serverCloses();
  const again = open.use(await comeBack(cluster, 0, alice.id));
  assertNotEquals(again.welcome!.epoch, alice.welcome!.epoch);
});

Deno.test("restore: I3 leaves one of two sessions with the same epoch on two nodes", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  await using open = new AsyncDisposableStack();
  const [alice, bob] = await cluster.usersApart(open) as [FramedClient, FramedClient];
  await bob.close();
  await remember(cluster);
  const before = open.use(await comeBack(cluster, 1, bob.id));
  await goBack(cluster);
  // Gets the epoch of the lost login, and is refused until all nodes use another store epoch.
  const again = open.use(await comeBack(cluster, 0, bob.id));
  await before.serverCloses();
  assertNotEquals(again.welcome!.epoch, alice.welcome!.epoch);
});
