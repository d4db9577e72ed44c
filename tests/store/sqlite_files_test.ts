/** Tests of the embedded store's files: opening, permissions, locks, and loss. */
import { pause, until } from "../harness/wait.ts";
import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { restore } from "../../lib/store/sqlite/backup.ts";
import { openDatabase } from "../../lib/store/sqlite/database.ts";
import { lockDatabaseFile } from "../../lib/store/sqlite/file_lock.ts";
import { writeNote } from "../../lib/store/sqlite/lost_note.ts";
import { SqliteStore } from "../../lib/store/sqlite/sqlite_store.ts";
import { StoreUnavailableError } from "../../lib/store/store.ts";
import { fileTest, refusal, sql } from "./sqlite_fixture.ts";
import { makeUsers, ROOMY, send } from "./store_fixture.ts";

fileTest("rejects a file in use by another server, until that closes it", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  assertStringIncludes(await refusal(file), "another server is using it");
  await makeUsers(store, 1); // the first store still works
  await store.close();
  const again = await SqliteStore.open(file, ROOMY);
  assertEquals((await again.findUser({ name: "u1" }))?.name, "u1");
  await again.close();
});

fileTest("rejects another program's database, and does not change it", async (file) => {
  sql(file, "CREATE TABLE Theirs (x)", "PRAGMA user_version");
  const before = await Deno.readFile(file);
  assertStringIncludes(await refusal(file), "another program's database");
  assertEquals(await Deno.readFile(file), before);
  await Deno.remove(file);
  sql(file, "PRAGMA application_id = 77", "PRAGMA user_version");
  assertStringIncludes(await refusal(file), "another program's database");
});

fileTest("rejects a newer version's database, and does not change it", async (file) => {
  await (await SqliteStore.open(file, ROOMY)).close();
  sql(file, "PRAGMA user_version = 99", "SELECT 1");
  assertStringIncludes(await refusal(file), "version is 99");
  assertEquals(sql(file, "PRAGMA user_version"), [{ user_version: 99 }]);
});

fileTest("rejects a file that is not a database, and names that cannot be a file", async (file) => {
  await Deno.writeTextFile(file, "Dear diary, this is text and not a database. ".repeat(100));
  assertStringIncludes(await refusal(file), "not a database");
  await refusal(`${file}/below`);
  await refusal(`${file}-nowhere/chat.db`);
  await Deno.mkdir(`${file}-directory`);
  await refusal(`${file}-directory`);
});

fileTest("creates a database in an empty file", async (file) => {
  await Deno.writeTextFile(file, "");
  const store = await SqliteStore.open(file, ROOMY);
  await makeUsers(store, 1);
  await store.close();
  assertEquals(sql(file, "SELECT name FROM User"), [{ name: "u1" }]);
});

Deno.test("sqlite: opens databases in memory without a file and a lock", async () => {
  const [one, two] = await Promise.all([1, 2].map(() => SqliteStore.open(":memory:", ROOMY)));
  await makeUsers(one!, 1);
  assertEquals(await two!.findUser({ name: "u1" }), undefined);
  await one!.close();
  await two!.close();
});

fileTest("creates files that only their owner may read", async (file) => {
  if (Deno.build.os === "windows") return;
  const store = await SqliteStore.open(file, ROOMY);
  await makeUsers(store, 1);
  for (const suffix of ["", "-wal", "-shm", ".lock"]) {
    assertEquals((await Deno.stat(file + suffix)).mode! & 0o777, 0o600, suffix);
  }
  await store.close();
});

fileTest(
  "does not assign the id of a deleted sender of a recent message again",
  async (file) => {
    await (await SqliteStore.open(file, ROOMY)).close();
    const columns = "low, high, seq, sender, cid, time, body";
    sql(file, `INSERT INTO RecentMessage (${columns}) VALUES (1, 50, 1, 50, 'c', 0, 'text')`, "SELECT 1");
    const store = await SqliteStore.open(file, ROOMY);
    assertEquals(await store.createUser("new", "hash"), { id: 51 });
    await store.close();
  },
);

fileTest("creates no database beside a complete rescued copy", async (file) => {
  const copy = `${file}.rescued-20260101T000000Z`;
  await Deno.writeTextFile(copy, ""); // an empty file is not a copy
  await Deno.writeTextFile(`${copy}.part`, "the beginning of a copy");
  await (await SqliteStore.open(file, ROOMY)).close();
  await Deno.remove(file);
  await Deno.writeTextFile(copy, "a copy");
  assertStringIncludes(await refusal(file), copy);
});

/** Returns SQLite's locks on a file as listed by Linux; none on other systems. */
async function sqliteLocks(file: string): Promise<string[]> {
  if (Deno.build.os !== "linux") return [];
  const { ino } = await Deno.stat(file);
  const { stdout } = await new Deno.Command("cat", { args: ["/proc/locks"] }).output(); // Deno needs -A to read it
  const locks = new TextDecoder().decode(stdout).split("\n").map((line) => line.replace(/^\d+: /, ""));
  return locks.filter((lock) => lock.startsWith("POSIX ") && lock.includes(`:${ino} `)).sort();
}

fileTest("rejects a lock while a server uses the file, and a server while it is locked", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  await makeUsers(store, 1);
  await Deno.link(file, `${file}.hard`);
  const before = await sqliteLocks(file);
  if (Deno.build.os === "linux") assert(before.length > 0);
  for (const name of [file, `${file}.hard`]) {
    await assertRejects(() => lockDatabaseFile(name), Error, "another server is using it");
  }
  // Without SQLite's locks, another program would count as the last user, and remove the -wal.
  assertEquals(await sqliteLocks(file), before);
  assert((await Deno.stat(`${file}-wal`)).size > 0);
  await store.close();
  {
    using lock = await lockDatabaseFile(file);
    assert(lock.isLinked());
    for (const name of [file, `${file}.hard`]) {
      assertStringIncludes(await refusal(name), "another server is using it");
    }
  }
  await (await SqliteStore.open(file, ROOMY)).close();
});

fileTest("locks a file that does not exist without creating it", async (file) => {
  {
    using lock = await lockDatabaseFile(file);
    assertEquals(lock.identity, undefined);
    assertStringIncludes(await refusal(file), "another server is using it");
  }
  await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
  await (await SqliteStore.open(file, ROOMY)).close();
});

fileTest("rejects calls of all stores that share a lost database", async (file) => {
  const lines: string[] = [];
  const log = {
    warn: (event: string) => void lines.push(event),
    error: (event: string) => void lines.push(event),
  };
  const store = await SqliteStore.open(file, ROOMY, log);
  const share = SqliteStore.fromPort(store.share());
  const [a, b] = await makeUsers(share, 2) as [number, number];
  for (const suffix of ["", "-wal", "-shm"]) await Deno.remove(file + suffix);
  await assertRejects(() => send(share, a, b, "1"), StoreUnavailableError, "removed or moved");
  assertStringIncludes((await store.lost).message, "removed or moved");
  for (const each of [store, share]) {
    await assertRejects(() => each.findUser({ id: a }), StoreUnavailableError);
  }
  await share.close();
  await until(() => lines.length === 2, "the entry with the place of the data");
  await store.close();
  assertEquals(
    lines.slice(2),
    [`the database file was lost: ${lines[1]}`],
    "the last entry has the place of the data",
  );
});

fileTest(
  "rejects a recovered database beside a foreign -wal or a damaged note",
  async (file) => {
    openDatabase(file).close();
    const { dev, ino } = await Deno.stat(file);
    const whole = [{ dev: dev!, ino: ino! }];
    await writeNote([file], { time: "then", reason: "lost", action: "look", whole, wal: undefined });
    await Deno.writeTextFile(`${file}-wal`, "of another");
    assertStringIncludes(await refusal(file), `${file}-wal belongs to another database`);
    await Deno.remove(`${file}-wal`);
    const note = await Deno.readTextFile(`${file}.lost`);
    await Deno.writeTextFile(`${file}.lost`, note.slice(0, -9));
    assertStringIncludes(
      await refusal(file),
      `${file}.lost says that the database was lost, and is damaged`,
    );
    await Deno.writeTextFile(`${file}.lost`, note);
    await (await SqliteStore.open(file, ROOMY)).close();
    await assertRejects(() => Deno.stat(`${file}.lost`), Deno.errors.NotFound);
  },
);

fileTest("rejects a truncated file unless its -wal has the missing pages", async (file) => {
  openDatabase(file).close();
  const add = (n: number) => `INSERT INTO User (name, password) VALUES ('${n}', hex(zeroblob(50000)))`;
  sql(file, "PRAGMA journal_mode = WAL", ...[1, 2, 3].map(add), "PRAGMA wal_checkpoint(TRUNCATE)");
  const db = new DatabaseSync(file);
  db.exec("UPDATE User SET state = 'online' WHERE id = 1");
  for (const copy of [`${file}.whole`, `${file}.cut`]) {
    for (const suffix of ["", "-wal"]) await Deno.copyFile(file + suffix, copy + suffix);
  }
  db.close();
  openDatabase(`${file}.whole`).close();
  await Deno.truncate(`${file}.cut`, 200_000);
  assertThrows(() => openDatabase(`${file}.cut`), Error, "it is truncated: put the complete file back");
});

fileTest("I1 does not acknowledge a commit during which the file is moved", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const users = await makeUsers(store, 2) as [number, number];
  const other = new DatabaseSync(file);
  other.exec("BEGIN IMMEDIATE"); // the store's commit waits for this transaction
  const sent = assertRejects(() => send(store, ...users, "1"), StoreUnavailableError, "was removed or moved");
  await pause(300); // the commit starts before the files are moved
  await Deno.rename(file, `${file}.moved`);
  other.exec("ROLLBACK");
  await sent;
  await store.close();
  other.close();
});

Deno.test("restore: leaves the database in place when the copy cannot be synced", async () => {
  const folder = await Deno.makeTempDir({ prefix: "chat-test-" });
  const { sync } = Deno.FsFile.prototype;
  try {
    for (const name of ["chat.db", "other.db"]) openDatabase(`${folder}/${name}`).close();
    const names = () => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    const [before, { ino }] = [names(), await Deno.stat(`${folder}/chat.db`)];
    Deno.FsFile.prototype.sync = () => Promise.reject(new Error("Input/output error (os error 5)"));
    const error = await assertRejects(() => restore(`${folder}/other.db`, `${folder}/chat.db`), Error);
    assertStringIncludes(error.message, "Input/output error");
    assertEquals(names().filter((name) => !name.endsWith(".lock")), before);
    assertEquals((await Deno.stat(`${folder}/chat.db`)).ino, ino);
  } finally {
    Deno.FsFile.prototype.sync = sync;
    await Deno.remove(folder, { recursive: true });
  }
});
