/** The embedded store's files: which are opened, who may read them, who locks them, and what follows their loss. */
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

fileTest("a file in use by another server is refused, and free again after close", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  assertStringIncludes(await refusal(file), "another server is using it");
  await makeUsers(store, 1); // and the first one goes on
  await store.close();
  const again = await SqliteStore.open(file, ROOMY);
  assertEquals((await again.findUser({ name: "u1" }))?.name, "u1");
  await again.close();
});

fileTest("another program's database is refused and left as it was", async (file) => {
  sql(file, "CREATE TABLE Theirs (x)", "PRAGMA user_version");
  const before = await Deno.readFile(file);
  assertStringIncludes(await refusal(file), "another program's database");
  assertEquals(await Deno.readFile(file), before);
  await Deno.remove(file);
  sql(file, "PRAGMA application_id = 77", "PRAGMA user_version");
  assertStringIncludes(await refusal(file), "another program's database");
});

fileTest("a newer version's database is refused and left as it was", async (file) => {
  await (await SqliteStore.open(file, ROOMY)).close();
  sql(file, "PRAGMA user_version = 99", "SELECT 1");
  assertStringIncludes(await refusal(file), "version is 99");
  assertEquals(sql(file, "PRAGMA user_version"), [{ user_version: 99 }]);
});

fileTest("what is no database, or can't be a file, is refused", async (file) => {
  await Deno.writeTextFile(file, "Dear diary, this is text and not a database. ".repeat(100));
  assertStringIncludes(await refusal(file), "not a database");
  await refusal(`${file}/below`);
  await refusal(`${file}-nowhere/chat.db`);
  await Deno.mkdir(`${file}-directory`);
  await refusal(`${file}-directory`);
});

fileTest("an empty file becomes a database", async (file) => {
  await Deno.writeTextFile(file, "");
  const store = await SqliteStore.open(file, ROOMY);
  await makeUsers(store, 1);
  await store.close();
  assertEquals(sql(file, "SELECT name FROM User"), [{ name: "u1" }]);
});

Deno.test("sqlite: a database in memory needs no file and no lock", async () => {
  const [one, two] = await Promise.all([1, 2].map(() => SqliteStore.open(":memory:", ROOMY)));
  await makeUsers(one!, 1);
  assertEquals(await two!.findUser({ name: "u1" }), undefined);
  await one!.close();
  await two!.close();
});

fileTest("only its owner may read the files of a database", async (file) => {
  if (Deno.build.os === "windows") return;
  const store = await SqliteStore.open(file, ROOMY);
  await makeUsers(store, 1);
  for (const suffix of ["", "-wal", "-shm", ".lock"]) {
    assertEquals((await Deno.stat(file + suffix)).mode! & 0o777, 0o600, suffix);
  }
  await store.close();
});

fileTest(
  "the id of a deleted sender whose message is not settled yet is not given out again",
  async (file) => {
    await (await SqliteStore.open(file, ROOMY)).close();
    const columns = "low, high, seq, sender, cid, time, body";
    sql(file, `INSERT INTO RecentMessage (${columns}) VALUES (1, 50, 1, 50, 'c', 0, 'text')`, "SELECT 1");
    const store = await SqliteStore.open(file, ROOMY);
    assertEquals(await store.createUser("new", "hash"), { id: 51 });
    await store.close();
  },
);

fileTest("a copy of a lost database stands in the way of a new one, unless it is not whole", async (file) => {
  const copy = `${file}.rescued-20260101T000000Z`;
  await Deno.writeTextFile(copy, ""); // holds nothing
  await Deno.writeTextFile(`${copy}.part`, "the beginning of a copy");
  await (await SqliteStore.open(file, ROOMY)).close();
  await Deno.remove(file);
  await Deno.writeTextFile(copy, "a copy");
  assertStringIncludes(await refusal(file), copy);
});

/** SQLite's locks on a file, as Linux lists them; none elsewhere. */
async function sqliteLocks(file: string): Promise<string[]> {
  if (Deno.build.os !== "linux") return [];
  const { ino } = await Deno.stat(file);
  const { stdout } = await new Deno.Command("cat", { args: ["/proc/locks"] }).output(); // Deno would need all rights
  const locks = new TextDecoder().decode(stdout).split("\n").map((line) => line.replace(/^\d+: /, ""));
  return locks.filter((lock) => lock.startsWith("POSIX ") && lock.includes(`:${ino} `)).sort();
}

fileTest("locking a file is refused while a server has it, and keeps servers out", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  await makeUsers(store, 1);
  await Deno.link(file, `${file}.hard`);
  const before = await sqliteLocks(file);
  if (Deno.build.os === "linux") assert(before.length > 0);
  for (const name of [file, `${file}.hard`]) {
    await assertRejects(() => lockDatabaseFile(name), Error, "another server is using it");
  }
  // Without SQLite's own locks another program would take itself for the only one, and remove the -wal.
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

fileTest("a file that does not exist can be locked, and is not made", async (file) => {
  {
    using lock = await lockDatabaseFile(file);
    assertEquals(lock.identity, undefined);
    assertStringIncludes(await refusal(file), "another server is using it");
  }
  await assertRejects(() => Deno.stat(file), Deno.errors.NotFound);
  await (await SqliteStore.open(file, ROOMY)).close();
});

fileTest("when the files are lost, calls are rejected also at those that share the store", async (file) => {
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
  await until(() => lines.length === 2, "the line that says where the data is");
  await store.close();
  assertEquals(
    lines.slice(2),
    [`the database file was lost: ${lines[1]}`],
    "the last line says where the data is",
  );
});

fileTest(
  "a lost database that is back is refused beside the -wal of another one, or a note in pieces",
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

fileTest("a file that was cut off is refused if its -wal does not hold what is missing", async (file) => {
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

fileTest("I1 a commit during which the file is moved is not acknowledged", async (file) => {
  const store = await SqliteStore.open(file, ROOMY);
  const users = await makeUsers(store, 2) as [number, number];
  const other = new DatabaseSync(file);
  other.exec("BEGIN IMMEDIATE"); // the store's commit has been begun, and waits for this
  const sent = assertRejects(() => send(store, ...users, "1"), StoreUnavailableError, "was removed or moved");
  await pause(300); // the files are in their places when the commit is begun
  await Deno.rename(file, `${file}.moved`);
  other.exec("ROLLBACK");
  await sent;
  await store.close();
  other.close();
});

Deno.test("restore: leaves the database in its place when the disk does not take the copy", async () => {
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
