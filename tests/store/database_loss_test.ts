/** Tests of the data of a database that is lost under load, and of the restart after it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser } from "../harness/framed_client.ts";
import { type Server, serverTest, startServer, withServer } from "../harness/server.ts";
import { EXIT_FAILED, messagesIn, refusal, saved } from "./database_fixture.ts";

const BURST = 200;

/** Sends messages concurrently, and returns the number of acknowledged ones. */
async function burst(from: FramedClient, toid: number, count = BURST): Promise<number> {
  const answers = await Promise.all(
    Array.from(
      { length: count },
      (_, at) => from.request({ msgid: Msg.ONE_CHAT, toid, msg: "text", cid: `cid ${at}` }),
    ),
  );
  return answers.filter(({ errno }) => errno === Errno.OK).length;
}

async function stop(server: Server, clients: readonly FramedClient[]): Promise<void> {
  server.kill("SIGTERM");
  assertEquals(await server.wait(), EXIT_FAILED);
  for (const client of clients) await client.close();
}

/** Creates another chat database, with two accounts and three messages. */
async function otherDatabase(file: string): Promise<void> {
  await using other = await startServer();
  const [ann, bob] = [await newUser(other), await newUser(other)];
  await burst(ann, bob.id, 3);
  for (const client of [ann, bob]) await client.close();
  other.kill("SIGTERM");
  await other.wait();
  await Deno.copyFile(other.db, file);
}

serverTest(
  "database loss: does not change another database in its place, also after a restart",
  {},
  async (server) => {
    const other = `${server.folder}/other.db`;
    await otherDatabase(other);
    const before = await Deno.readFile(other);
    const [ann, bob] = [await newUser(server), await newUser(server)];
    assertEquals(await burst(ann, bob.id), BURST);
    await Deno.rename(other, server.db);
    const { copy } = await saved(server);
    await stop(server, [ann, bob]);
    assertEquals(messagesIn(copy!), BURST, "the log entry is true");
    assertEquals(await Deno.readFile(server.db), before);

    assertStringIncludes(await refusal(server.db), copy!);
    assertEquals(await Deno.readFile(server.db), before);
    await Deno.remove(`${server.db}.lost`); // the operator chooses the other database
    await server.start();
    server.kill("SIGTERM");
    await server.wait();
    assertEquals(messagesIn(server.db), 3, "it has no data of the old log");
  },
);

serverTest(
  "database loss: creates nothing in the place of a moved database, and fails a start",
  {},
  async (server) => {
    const [ann, bob] = [await newUser(server), await newUser(server)];
    const loading = burst(ann, bob.id);
    await Deno.rename(server.db, `${server.folder}/moved.db`);
    const acknowledged = await loading;
    await saved(server);
    await stop(server, [ann, bob]);
    const left = [...Deno.readDirSync(server.folder)].map(({ name }) => name);
    assert(!left.includes("chat.db"), left.join());
    assertStringIncludes(await refusal(server.db), "move the database to");
    assert(messagesIn(`${server.folder}/moved.db`) >= acknowledged);
  },
);

Deno.test("database loss: fails a start while a symbolic link has another target", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    const link = `${folder}/link.db`;
    await Deno.symlink("real.db", link);
    await withServer({ db: link }, async (server) => {
      const [ann, bob] = [await newUser(server), await newUser(server)];
      assertEquals(await burst(ann, bob.id), BURST);
      await Deno.remove(link);
      await Deno.symlink("elsewhere.db", link);
      await saved(server);
      await stop(server, [ann, bob]);
      assertStringIncludes(await refusal(link), `make ${link} a link to `);
      await Deno.remove(link);
      await Deno.symlink("real.db", link);
      await server.start();
      await using again = await login(server, { name: ann.name });
      assertEquals((await again.chat(bob.id, "more")).seq, BURST + 1);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("database loss: saves the data beside a removed folder, where a start finds it", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await Deno.mkdir(`${folder}/data`);
    const db = `${folder}/data/chat.db`;
    await withServer({ db }, async (server) => {
      const [ann, bob] = [await newUser(server), await newUser(server)];
      assertEquals(await burst(ann, bob.id), BURST);
      await Deno.remove(`${folder}/data`, { recursive: true });
      const { copy } = await saved(server);
      await stop(server, [ann, bob]);
      assertEquals(messagesIn(copy!), BURST);
      await Deno.mkdir(`${folder}/data`);
      assertStringIncludes(await refusal(db), copy!);
      await Deno.remove(`${folder}/data-chat.db.lost`);
      assertStringIncludes(await refusal(db), copy!, "a start also fails without the note");
      await Deno.rename(copy!, db);
      await server.start();
      await using again = await login(server, { name: ann.name });
      assertEquals((await again.chat(bob.id, "more")).seq, BURST + 1);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

serverTest(
  "database loss: copies data that was in a truncated log only",
  {},
  async (server) => {
    const [ann, bob] = [await newUser(server), await newUser(server)];
    const reader = new DatabaseSync(server.db);
    try {
      reader.exec("BEGIN; SELECT count(*) FROM User"); // prevents checkpoints from now on
      assertEquals(await burst(ann, bob.id), BURST);
      await Deno.truncate(`${server.db}-wal`, 20_000);
      const { copy } = await saved(server);
      await stop(server, [ann, bob]);
      assertEquals(messagesIn(copy!), BURST);
    } finally {
      reader.close();
    }
  },
);

serverTest("database loss: does not apply a killed server's log to another database", {}, async (server) => {
  const other = `${server.folder}/other.db`;
  await otherDatabase(other);
  const before = await Deno.readFile(other);
  const [ann, bob] = [await newUser(server), await newUser(server)];
  assertEquals(await burst(ann, bob.id), BURST);
  server.kill("SIGSTOP"); // so that it does not detect the fault
  await Deno.rename(server.db, `${server.folder}/moved.db`);
  await Deno.rename(other, server.db);
  server.kill("SIGKILL");
  await server.wait();
  for (const client of [ann, bob]) await client.close();
  assertStringIncludes(await refusal(server.db), "holds messages of the database that was replaced");
  assertEquals(await Deno.readFile(server.db), before);
  await Deno.rename(`${server.folder}/moved.db`, server.db);
  await server.start();
  await using again = await login(server, { name: ann.name });
  assertEquals((await again.chat(bob.id, "more")).seq, BURST + 1);
});

serverTest("database loss: allows an operator's checkpoint that empties the log", {}, async (server) => {
  const [ann, bob] = [await newUser(server), await newUser(server)];
  assertEquals(await burst(ann, bob.id), BURST);
  const operator = new DatabaseSync(server.db, { timeout: 5_000 });
  operator.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  operator.close();
  assertEquals((await ann.chat(bob.id, "more")).seq, BURST + 1);
  for (const client of [ann, bob]) await client.close();
  server.kill("SIGTERM");
  assertEquals(await server.wait(), 0);
  assertEquals(messagesIn(server.db), BURST + 1);
});

Deno.test("database loss: recreates a moved folder for the note when no other place is permitted", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  try {
    await Deno.mkdir(`${folder}/data`);
    const db = `${folder}/data/chat.db`;
    const permissions = ["--allow-net", "--allow-env", "--allow-sys", "--allow-read"];
    permissions.push(`--allow-write=${folder}/data`, "--no-prompt");
    await withServer({ db, permissions }, async (server) => {
      const [ann, bob] = [await newUser(server), await newUser(server)];
      assertEquals(await burst(ann, bob.id), BURST);
      await Deno.rename(`${folder}/data`, `${folder}/moved`);
      await saved(server);
      await stop(server, [ann, bob]);
      assertStringIncludes(await refusal(db), `${db}.lost`);
      await Deno.remove(`${folder}/data`, { recursive: true });
      await Deno.rename(`${folder}/moved`, `${folder}/data`);
      await server.start();
      await using again = await login(server, { name: ann.name });
      assertEquals((await again.chat(bob.id, "more")).seq, BURST + 1);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
