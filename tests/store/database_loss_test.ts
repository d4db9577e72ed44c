/** What becomes of the data when a database's file is lost in the midst of work, and what a restart makes of that. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { Errno, Msg } from "../harness/protocol_numbers.ts";
import { type FramedClient, login, newUser } from "../harness/framed_client.ts";
import { type Server, serverTest, startServer, withServer } from "../harness/server.ts";
import { EXIT_FAILED, messagesIn, refusal, saved } from "./database_fixture.ts";

const BURST = 200;

/** Sends messages at once, and returns how many were acknowledged. */
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

/** Another chat database, with an account. */
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
  "database loss: another database in its place stays as it is, also after a restart",
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
    assertEquals(messagesIn(copy!), BURST, "what the log claims is so");
    assertEquals(await Deno.readFile(server.db), before);

    assertStringIncludes(await refusal(server.db), copy!);
    assertEquals(await Deno.readFile(server.db), before);
    await Deno.remove(`${server.db}.lost`); // to go on with the other one
    await server.start();
    server.kill("SIGTERM");
    await server.wait();
    assertEquals(messagesIn(server.db), 3, "nothing of the old log is in it");
  },
);

serverTest(
  "database loss: nothing appears in the place of a moved database, and a start is refused",
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

Deno.test("database loss: a start is refused while a symbolic link leads elsewhere", async () => {
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

Deno.test("database loss: the data is saved beside a folder that is removed, and found by a start", async () => {
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
      assertStringIncludes(await refusal(db), copy!, "the copy alone is reason enough");
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
  "database loss: what is in a log that is cut off, and not in the file, is in the copy",
  {},
  async (server) => {
    const [ann, bob] = [await newUser(server), await newUser(server)];
    const reader = new DatabaseSync(server.db);
    try {
      reader.exec("BEGIN; SELECT count(*) FROM User"); // from here on nothing is copied into the file
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

serverTest("database loss: a killed server's log is not run into another database", {}, async (server) => {
  const other = `${server.folder}/other.db`;
  await otherDatabase(other);
  const before = await Deno.readFile(other);
  const [ann, bob] = [await newUser(server), await newUser(server)];
  assertEquals(await burst(ann, bob.id), BURST);
  server.kill("SIGSTOP"); // it does not notice any more
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

serverTest("database loss: an operator may empty the log properly", {}, async (server) => {
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

Deno.test("database loss: a folder that is moved away is made anew for the note, if nothing else is permitted", async () => {
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
